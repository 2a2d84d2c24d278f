/* Functions replaced in the modules that call them. */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The hooks are not in the library of the tests: they would interpose on it. */
#include "../../agent/hooks/got.c"
#include "importer.h"

#define PROVIDED 1
#define REPLACED 2
#define REPLACED_AGAIN 3
#define SWITCHES 3000
#define DAMAGES 3000

int target(void);

static int replaced(void)
{
	return REPLACED;
}

static int replaced_again(void)
{
	return REPLACED_AGAIN;
}

static int replaced_old_version(void)
{
	return 20;
}

/* --- patches --- */

struct exchange {
	const char *name; /* or the beginning of several */
	uint64_t from, to;
	uint32_t asked_names, asked_targets;
	uint64_t last_target;
	void *close; /* a module that goes while it is patched */
};

static bool is_name(const char *name, void *context)
{
	struct exchange *exchange = context;

	exchange->asked_names++;
	return strncmp(name, exchange->name, strlen(exchange->name)) == 0;
}

static uint64_t exchange_address(const char *name, uint64_t target, void *context)
{
	struct exchange *exchange = context;

	ck_assert_mem_eq(name, exchange->name, strlen(exchange->name));
	exchange->asked_targets++;
	exchange->last_target = target;
	if (exchange->close) {
		dlclose(exchange->close);
		exchange->close = NULL;
	}
	return target == exchange->from ? exchange->to : 0;
}

static uint64_t address_of(int (*function)(void))
{
	return (uint64_t)(uintptr_t)function;
}

static uint64_t find(const char *name)
{
	return (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, name);
}

static struct exchange exchange_of(int (*to)(void))
{
	return (struct exchange){
		.name = "target", .from = find("target"), .to = address_of(to)};
}

/* --- modules --- */

struct module {
	void *handle;
	const struct importer *importer;
	struct dl_find_object loader;
};

static struct module load(const char *name, int flags)
{
	struct module module;
	struct link_map *map;
	char path[512];

	snprintf(path, sizeof(path), "%s/got_%s.so", GOT_MODULES, name);
	module.handle = dlopen(path, flags);
	ck_assert_msg(module.handle != NULL, "%s", dlerror());
	module.importer = dlsym(module.handle, "importer");
	ck_assert_int_eq(dlinfo(module.handle, RTLD_DI_LINKMAP, &map), 0);
	ck_assert_int_eq(_dl_find_object(map->l_ld, &module.loader), 0);
	return module;
}

static int patch_late(const struct module *module, struct exchange *exchange,
		      struct sp_got_result *result)
{
	const struct sp_got_patch patch = {
		.is_wanted = is_name,
		.replacement_for = exchange_address,
		.context = exchange,
	};

	*result = (struct sp_got_result){0};
	return sp_got_patch_module((uint64_t)(uintptr_t)module->loader.dlfo_map_start,
				   module->loader.dlfo_link_map, &patch, result);
}

/* The mappings of a module with their rights, as text. */
static void read_maps(const struct module *module, char *out, size_t out_bytes)
{
	uint64_t low = (uint64_t)(uintptr_t)module->loader.dlfo_map_start;
	uint64_t high = (uint64_t)(uintptr_t)module->loader.dlfo_map_end;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[1024];
	size_t used = 0;

	ck_assert_ptr_nonnull(maps);
	out[0] = '\0';
	while (fgets(line, sizeof(line), maps)) {
		uint64_t start = strtoull(line, NULL, 16);

		if (start < low || start >= high)
			continue;
		ck_assert_uint_lt(used + strlen(line), out_bytes);
		used += (size_t)snprintf(out + used, out_bytes - used, "%s", line);
	}
	fclose(maps);
}

/* --- tests of modules loaded late --- */

START_TEST(every_way_to_a_function_is_replaced)
{
	static const char *const names[] = {"lazy", "now", "noplt", "norelro"};
	struct module module = load(names[_i], RTLD_NOW);
	bool has_relro = strcmp(names[_i], "norelro") != 0;
	struct exchange exchange = exchange_of(replaced);
	struct sp_got_result result;
	char before[8192], after[8192];

	ck_assert_int_eq(module.importer->call(), PROVIDED);
	read_maps(&module, before, sizeof(before));
	ck_assert_int_eq(patch_late(&module, &exchange, &result), 0);
	read_maps(&module, after, sizeof(after));
	ck_assert_str_eq(before, after);

	ck_assert_int_eq(module.importer->call(), REPLACED);
	ck_assert_int_eq(module.importer->call_address(), REPLACED);
	/* What the module may change at any time is left. */
	ck_assert_int_eq(module.importer->call_variable(), PROVIDED);
	ck_assert_int_eq(module.importer->call_constant(),
			 has_relro ? REPLACED : PROVIDED);
	ck_assert_int_eq(module.importer->call_old_version(), 10);
	ck_assert_int_eq(module.importer->has_missing(), 0);
	ck_assert_uint_ge(result.replaced, has_relro ? 2 : 1);
	ck_assert_uint_eq(result.failed, 0);
	ck_assert_uint_eq(result.unbound, 0);

	ck_assert_int_eq(patch_late(&module, &exchange, &result), 0);
	ck_assert_uint_eq(result.replaced, 0);
	ck_assert_uint_eq(exchange.last_target, address_of(replaced));
	ck_assert_int_eq(module.importer->call(), REPLACED);
	dlclose(module.handle);
}
END_TEST

START_TEST(slot_that_waits_for_its_first_call_is_left_until_then)
{
	struct module module = load("lazy", RTLD_LAZY);
	struct exchange exchange = exchange_of(replaced);
	struct sp_got_result result;

	ck_assert_int_eq(patch_late(&module, &exchange, &result), 0);
	ck_assert_uint_eq(result.unbound, 1);
	ck_assert_uint_eq(result.failed, 0);
	ck_assert_int_eq(module.importer->call(), PROVIDED);
	ck_assert_int_eq(patch_late(&module, &exchange, &result), 0);
	ck_assert_uint_eq(result.unbound, 0);
	ck_assert_uint_eq(result.replaced, 1);
	ck_assert_int_eq(module.importer->call(), REPLACED);
	dlclose(module.handle);
}
END_TEST

START_TEST(slot_that_leads_elsewhere_is_left)
{
	struct module module = load("now", RTLD_NOW);
	struct exchange exchange = exchange_of(replaced);
	struct sp_got_result result;

	exchange.from = address_of(replaced_again);
	ck_assert_int_eq(patch_late(&module, &exchange, &result), 0);
	ck_assert_uint_ge(exchange.asked_targets, 1);
	ck_assert_uint_eq(result.replaced + result.failed + result.unbound, 0);
	ck_assert_int_eq(module.importer->call(), PROVIDED);
	dlclose(module.handle);
}
END_TEST

START_TEST(module_on_the_list_is_skipped)
{
	struct module module = load("now", RTLD_NOW);
	struct exchange exchange = exchange_of(replaced);
	const struct link_map *const skipped[] = {module.loader.dlfo_link_map, NULL};
	const struct sp_got_patch patch = {
		.is_wanted = is_name,
		.replacement_for = exchange_address,
		.context = &exchange,
		.skipped = skipped,
	};
	struct sp_got_result result = {0};

	ck_assert_int_eq(
		sp_got_patch_module((uint64_t)(uintptr_t)module.loader.dlfo_map_start,
				    module.loader.dlfo_link_map, &patch, &result),
		0);
	ck_assert_uint_eq(exchange.asked_names, 0);
	ck_assert_uint_eq(result.replaced, 0);
	dlclose(module.handle);
}
END_TEST

START_TEST(module_without_imports_has_nothing_to_replace)
{
	struct module module = load("none", RTLD_NOW);
	struct exchange exchange = exchange_of(replaced);
	struct sp_got_result result;

	ck_assert_int_eq(patch_late(&module, &exchange, &result), 0);
	ck_assert_uint_eq(exchange.asked_names, 0);
	ck_assert_uint_eq(result.replaced, 0);
	dlclose(module.handle);
}
END_TEST

static bool is_provided_number(const char *name, void *context)
{
	(*(uint32_t *)context)++;
	return strncmp(name, "provided_", 9) == 0 && strlen(name) == 12;
}

static uint64_t replace_last_digit_f(const char *name, uint64_t target, void *context)
{
	(void)context;
	ck_assert_uint_eq(target, find(name));
	return name[11] == 'f' ? address_of(replaced) : 0;
}

START_TEST(every_one_of_many_relocations_is_found)
{
	struct module module = load("many", RTLD_NOW);
	int (*const(*pointers)[4096])(void) = dlsym(module.handle, "many_pointers");
	uint32_t asked = 0;
	const struct sp_got_patch patch = {
		.is_wanted = is_provided_number,
		.replacement_for = replace_last_digit_f,
		.context = &asked,
	};
	struct sp_got_result result = {0};

	ck_assert_int_eq(
		sp_got_patch_module((uint64_t)(uintptr_t)module.loader.dlfo_map_start,
				    module.loader.dlfo_link_map, &patch, &result),
		0);
	ck_assert_uint_ge(asked, 8 * 4096);
	ck_assert_uint_eq(result.replaced, 8 * 256);
	ck_assert_uint_eq(result.failed, 0);
	for (int i = 0; i < 8 * 4096; i++) {
		int number = i % 4096;

		ck_assert_int_eq(pointers[i / 4096][number](),
				 number % 16 == 15 ? REPLACED : number);
	}
	dlclose(module.handle);
}
END_TEST

START_TEST(closed_module_is_an_error)
{
	struct module module = load("now", RTLD_NOW);
	struct exchange exchange = exchange_of(replaced);
	struct sp_got_result result;

	dlclose(module.handle);
	ck_assert_int_eq(patch_late(&module, &exchange, &result), -EFAULT);
	ck_assert_uint_eq(result.replaced, 0);
}
END_TEST

START_TEST(module_closed_meanwhile_is_an_error)
{
	struct module module = load("now", RTLD_NOW);
	struct exchange exchange = exchange_of(replaced);
	struct sp_got_result result;

	exchange.close = module.handle;
	ck_assert_int_eq(patch_late(&module, &exchange, &result), -ESTALE);
	ck_assert_ptr_null(exchange.close);
	ck_assert_uint_eq(result.replaced, 0);
	ck_assert_uint_eq(result.failed, 0);
}
END_TEST

/* As when the loader has not yet forgotten it. */
START_TEST(unmapped_module_is_an_error)
{
	struct module module = load("now", RTLD_NOW);
	size_t bytes = (size_t)((char *)module.loader.dlfo_map_end -
				(char *)module.loader.dlfo_map_start);
	struct exchange exchange = exchange_of(replaced);
	struct sp_got_result result;
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct sp_got_image image;
		struct walk walk = {.link_map = module.loader.dlfo_link_map};
		uint64_t start = (uint64_t)(uintptr_t)module.loader.dlfo_map_start;

		if (sp_got_image_read(start, &image) != 0)
			_exit(1);
		walk.image = image;
		munmap(module.loader.dlfo_map_start, bytes);
		if (patch_late(&module, &exchange, &result) != -EFAULT)
			_exit(2);
		if (store(&walk, image.relro_start, 1) >= 0 ||
		    store(&walk, image.end - 8, 1) >= 0)
			_exit(3);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
	dlclose(module.handle);
}
END_TEST

struct caller {
	const struct importer *importer;
	_Atomic bool has_begun, is_over;
	uint64_t calls, wrong;
};

static void *call_on(void *argument)
{
	struct caller *caller = argument;

	while (!atomic_load_explicit(&caller->is_over, memory_order_relaxed)) {
		int result = caller->importer->call();

		atomic_store_explicit(&caller->has_begun, true, memory_order_relaxed);
		caller->calls++;
		caller->wrong += result != REPLACED && result != REPLACED_AGAIN;
	}
	return NULL;
}

/* Slots in variables and in read-only pages. */
START_TEST(callers_are_not_disturbed)
{
	struct module module = load(_i ? "now" : "lazy", RTLD_NOW);
	struct exchange exchange = exchange_of(replaced);
	struct caller caller = {.importer = module.importer};
	struct sp_got_result result;
	pthread_t thread;

	ck_assert_int_eq(patch_late(&module, &exchange, &result), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, call_on, &caller), 0);
	/* On a busy machine it may else come when all is over. */
	while (!atomic_load_explicit(&caller.has_begun, memory_order_relaxed))
		sched_yield();
	for (int i = 0; i < SWITCHES; i++) {
		exchange.from = exchange.to;
		exchange.to = address_of(i % 2 ? replaced : replaced_again);
		ck_assert_int_eq(patch_late(&module, &exchange, &result), 0);
		ck_assert_uint_eq(result.failed, 0);
	}
	atomic_store(&caller.is_over, true);
	pthread_join(thread, NULL);
	ck_assert_uint_gt(caller.calls, 0);
	ck_assert_uint_eq(caller.wrong, 0);
	dlclose(module.handle);
}
END_TEST

/* Any bytes may stand where headers and tables are expected. */
START_TEST(damaged_image_does_no_harm)
{
	struct module module = load("lazy", RTLD_NOW);
	size_t bytes = (size_t)((char *)module.loader.dlfo_map_end -
				(char *)module.loader.dlfo_map_start);
	char *copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct module damaged = module;
	struct exchange exchange = exchange_of(replaced);
	uint64_t original = (uint64_t)(uintptr_t)module.loader.dlfo_map_start, whole = 0;
	struct sp_got_image image;
	struct sp_got_result result;
	unsigned char *dynamic;

	ck_assert_ptr_ne(copy, MAP_FAILED);
	damaged.loader.dlfo_map_start = copy;
	ck_assert_int_eq(sp_got_image_read(original, &image), 0);
	dynamic = (unsigned char *)copy + (image.dynamic - original);
	srandom(1);
	for (int i = 0; i < DAMAGES; i++) {
		ck_assert(sp_guarded_read(original, copy, bytes));
		/* The loader's addresses are those of the original. */
		for (Elf64_Dyn *entry = (void *)dynamic; entry->d_tag; entry++) {
			if (entry->d_un.d_val - original < bytes)
				entry->d_un.d_val += (uint64_t)(uintptr_t)copy - original;
		}
		for (int j = 0; j < 3; j++) {
			if (random() % 4 == 0)
				copy[random() % 1024] = (char)random();
			else
				dynamic[random() % 512] = (unsigned char)random();
		}
		whole += patch_late(&damaged, &exchange, &result) == 0;
		ck_assert_uint_eq(result.replaced, 0);
	}
	ck_assert_uint_gt(whole, 0);
	ck_assert_uint_lt(whole, DAMAGES);
	ck_assert_uint_gt(exchange.asked_targets, 0);
	munmap(copy, bytes);
	dlclose(module.handle);
}
END_TEST

START_TEST(modules_that_come_and_go_are_a_change)
{
	struct module module;

	ck_assert(!sp_got_have_modules_changed());
	module = load("now", RTLD_NOW);
	ck_assert(sp_got_have_modules_changed());
	ck_assert(!sp_got_have_modules_changed());
	dlclose(module.handle);
	ck_assert(sp_got_have_modules_changed());
	ck_assert(!sp_got_have_modules_changed());
}
END_TEST

/* --- tests of start-up modules --- */

static void patch_startup(struct exchange *exchange, struct sp_got_result *result)
{
	const struct sp_got_patch patch = {
		.is_wanted = is_name,
		.replacement_for = exchange_address,
		.context = exchange,
	};

	*result = (struct sp_got_result){0};
	sp_got_patch_all(&patch, result);
}

START_TEST(slot_of_a_startup_module_is_replaced_before_its_first_call)
{
	struct exchange exchange = exchange_of(replaced);
	struct sp_got_result result;

	errno = E2BIG;
	patch_startup(&exchange, &result);
	ck_assert_int_eq(errno, E2BIG);
	ck_assert_uint_eq(result.failed, 0);
	ck_assert_uint_eq(result.unbound, 0);
	ck_assert_uint_ge(result.replaced, 4);
	ck_assert_int_eq(startup_importer.call(), REPLACED);
	ck_assert_int_eq(startup_importer.call_address(), REPLACED);
	ck_assert_int_eq(startup_importer.call_constant(), REPLACED);
	ck_assert_int_eq(startup_importer.call_variable(), REPLACED);
	/* We are no module to patch. */
	ck_assert_int_eq(target(), PROVIDED);

	patch_startup(&exchange, &result);
	ck_assert_uint_eq(result.replaced, 0);
}
END_TEST

START_TEST(slot_is_taken_to_lead_to_the_version_that_it_asks_for)
{
	struct exchange exchange = {
		.name = "versioned",
		.from = (uint64_t)(uintptr_t)dlvsym(RTLD_DEFAULT, "versioned", "OLD"),
		.to = address_of(replaced_old_version),
	};
	struct sp_got_result result;

	ck_assert_uint_ne(exchange.from, find("versioned"));
	patch_startup(&exchange, &result);
	ck_assert_uint_eq(result.replaced, 1);
	ck_assert_uint_eq(exchange.last_target, exchange.from);
	ck_assert_int_eq(startup_importer.call_old_version(), 20);
}
END_TEST

START_TEST(modules_of_earlier_constructors_are_patched_as_late_ones)
{
	struct module module;
	struct exchange exchange = exchange_of(replaced);
	struct sp_got_result result;

	ck_assert_ptr_nonnull(sp_next_last_object());
	module = load("lazy", RTLD_LAZY);
	patch_startup(&exchange, &result);
	ck_assert_uint_eq(result.unbound, 1);
	ck_assert_uint_eq(result.failed, 0);
	ck_assert_int_eq(module.importer->call(), PROVIDED);
	ck_assert_int_eq(module.importer->call_constant(), REPLACED);
	ck_assert_int_eq(startup_importer.call(), REPLACED);
	dlclose(module.handle);
}
END_TEST

/* Threads that put back what stood aside store the same, and each makes the page
 * read-only behind it. Here nothing makes it writable: it is of a file for reading. */
START_TEST(what_another_thread_has_stored_is_no_failure)
{
	static const uint64_t stored = REPLACED * sizeof(uint64_t);
	struct walk walk = {.link_map = NULL};
	int fd = memfd_create("slots", MFD_CLOEXEC), read_only;
	uint64_t slot;
	char path[64];
	void *page;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SP_PAGE_BYTES), 0);
	ck_assert_int_eq(write(fd, &stored, sizeof(stored)), sizeof(stored));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(read_only, 0);
	page = mmap(NULL, SP_PAGE_BYTES, PROT_READ, MAP_SHARED, read_only, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	slot = (uint64_t)(uintptr_t)page;
	ck_assert_int_eq(store_read_only(&walk, slot, stored), 0);
	ck_assert_int_lt(store_read_only(&walk, slot, 2 * stored), 0);
	ck_assert_uint_eq(*(const uint64_t *)page, stored);
	munmap(page, SP_PAGE_BYTES);
	close(read_only);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("got");
	TCase *late = tcase_create("late modules");
	TCase *startup = tcase_create("start-up modules");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(late, every_way_to_a_function_is_replaced, 0, 4);
	tcase_add_test(late, slot_that_waits_for_its_first_call_is_left_until_then);
	tcase_add_test(late, slot_that_leads_elsewhere_is_left);
	tcase_add_test(late, module_on_the_list_is_skipped);
	tcase_add_test(late, module_without_imports_has_nothing_to_replace);
	tcase_add_test(late, every_one_of_many_relocations_is_found);
	tcase_add_test(late, closed_module_is_an_error);
	tcase_add_test(late, module_closed_meanwhile_is_an_error);
	tcase_add_test(late, unmapped_module_is_an_error);
	tcase_add_loop_test(late, callers_are_not_disturbed, 0, 2);
	tcase_add_test(late, what_another_thread_has_stored_is_no_failure);
	tcase_add_test(late, damaged_image_does_no_harm);
	tcase_add_test(late, modules_that_come_and_go_are_a_change);
	tcase_set_timeout(late, 60);
	tcase_add_test(startup,
		       slot_of_a_startup_module_is_replaced_before_its_first_call);
	tcase_add_test(startup, slot_is_taken_to_lead_to_the_version_that_it_asks_for);
	tcase_add_test(startup, modules_of_earlier_constructors_are_patched_as_late_ones);
	suite_add_tcase(suite, late);
	suite_add_tcase(suite, startup);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
