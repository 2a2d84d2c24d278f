/* Which modules are loaded, and what is known of them. */
#include "modules_frames.h"
#include "modules_maps.h"
#include "run_suite.h"
#include "sp_compiler.h"
#include "unwind_cfi.h"
#include "unwind_fixture.h"

#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <math.h>
#include <sys/auxv.h>

static struct announced announced;
static struct sp_modules *modules;
static char library[64];

static const char library_source[] =
	"int twice(int (*call)(int), int n) { return call(n) + call(n + 1); }\n"
	"int thrice(int (*call)(int), int n) { return twice(call, n) + call(n + 2); }\n";

static void setup(void)
{
	static int number;

	announced.count = 0;
	modules = sp_modules_create(announce, &announced);
	ck_assert_ptr_nonnull(modules);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	snprintf(library, sizeof(library), "/tmp/sp_test_modules_%d_%d.so", (int)getpid(),
		 number++);
}

static void teardown(void)
{
	unlink(library);
	sp_modules_destroy(modules);
}

static const struct sp_unwind_module *module_at(const void *address)
{
	return sp_unwind_find_module(snapshot(), (uint64_t)(uintptr_t)address);
}

static uint64_t rule_at(const struct sp_unwind_module *module, uint64_t address)
{
	struct sp_cfi_row row;

	return sp_cfi_find_rule(module, address, &row);
}

static void reclaim(void)
{
	sp_modules_await_walks(modules);
	sp_modules_reclaim(modules);
}

static void refresh(void)
{
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
}

START_TEST(program_is_announced_as_the_main_module)
{
	const struct sp_unwind_module *self = module_at((void *)(uintptr_t)&setup);
	const struct sp_module_info *info;
	char path[4096] = "";

	ck_assert_ptr_nonnull(self);
	ck_assert_uint_ne(self->id, 0);
	info = &announced.info[self->id - 1];
	ck_assert(info->is_main);
	ck_assert(self->is_permanent);
	ck_assert_int_gt(readlink("/proc/self/exe", path, sizeof(path) - 1), 0);
	ck_assert_str_eq(info->path, path);
	for (uint32_t i = 0; i < announced.count; i++)
		ck_assert(!announced.info[i].is_main || i + 1U == self->id);
}
END_TEST

START_TEST(offset_from_the_base_is_the_elf_address)
{
	Dl_info symbol;
	struct link_map *map;
	const struct sp_unwind_module *libc = module_at(dlsym(RTLD_DEFAULT, "malloc"));

	ck_assert_ptr_nonnull(libc);
	ck_assert_int_ne(dladdr1(dlsym(RTLD_DEFAULT, "malloc"), &symbol, (void **)&map,
				 RTLD_DL_LINKMAP),
			 0);
	ck_assert_uint_eq(libc->base, map->l_addr);
	ck_assert_uint_le(libc->text_start, (uint64_t)(uintptr_t)symbol.dli_saddr);
	ck_assert_ptr_eq(libc->link_map, map);
}
END_TEST

START_TEST(modules_carry_their_build_ids)
{
	const struct sp_unwind_module *libc = module_at(dlsym(RTLD_DEFAULT, "malloc"));

	ck_assert_uint_eq(announced.info[libc->id - 1].build_id_bytes, 20);
}
END_TEST

START_TEST(libraries_of_the_start_are_permanent_and_read_in_place)
{
	const struct sp_unwind_module *libc = module_at(dlsym(RTLD_DEFAULT, "malloc"));
	const struct sp_unwind_module *loader = module_at((void *)getauxval(AT_BASE));

	ck_assert_ptr_nonnull(libc);
	ck_assert(libc->is_permanent);
	ck_assert_int_eq(libc->hdr_delta, 0);
	ck_assert_uint_gt(libc->hdr_bytes, 0);
	ck_assert_uint_gt(libc->eh_frame_bytes, 0);
	ck_assert_ptr_nonnull(loader);
	ck_assert(loader->is_permanent);
}
END_TEST

START_TEST(library_opened_before_the_first_scan_is_not_permanent)
{
	void *handle;

	ck_assert(compile_library(library_source, "-O1 -lm", library));
	sp_modules_destroy(modules);
	handle = dlopen(library, RTLD_NOW);
	ck_assert_ptr_nonnull(handle);
	modules = sp_modules_create(announce, &announced);
	refresh();
	ck_assert(!module_at(dlsym(handle, "twice"))->is_permanent);
	ck_assert(module_at(dlsym(RTLD_DEFAULT, "malloc"))->is_permanent);
	dlclose(handle);
}
END_TEST

START_TEST(vdso_is_a_module_with_unwind_data)
{
	const struct sp_unwind_module *vdso =
		module_at((void *)getauxval(AT_SYSINFO_EHDR));

	ck_assert_ptr_nonnull(vdso);
	ck_assert_str_eq(announced.path[vdso->id - 1], "[vdso]");
	ck_assert(vdso->is_permanent);
	ck_assert_uint_gt(vdso->hdr_bytes, 0);
	ck_assert_uint_gt(vdso->text_end, vdso->text_start);
}
END_TEST

START_TEST(nothing_is_published_when_nothing_changed)
{
	const struct sp_unwind_snapshot *before = snapshot();
	uint32_t count = announced.count;

	refresh();
	ck_assert_ptr_eq(snapshot(), before);
	ck_assert_uint_eq(announced.count, count);
}
END_TEST

START_TEST(loaded_library_gets_an_id_and_private_copies)
{
	const struct sp_unwind_module *module;
	uint32_t before = announced.count;
	void *handle;

	ck_assert(compile_library(library_source, "-O1", library));
	handle = dlopen(library, RTLD_NOW);
	ck_assert_ptr_nonnull(handle);
	ck_assert_ptr_null(module_at(dlsym(handle, "twice")));
	refresh();
	module = module_at(dlsym(handle, "twice"));
	ck_assert_ptr_nonnull(module);
	ck_assert_uint_eq(announced.count, before + 1);
	ck_assert_uint_eq(module->id, before + 1);
	ck_assert(!module->is_permanent);
	ck_assert_int_ne(module->hdr_delta, 0);
	ck_assert_int_ne(module->eh_frame_delta, 0);
	ck_assert_ptr_eq(module->link_map, handle);
	ck_assert_str_eq(announced.path[before], library);
	/* The copy outlives the library. */
	struct sp_unwind_module copy = *module;
	uint64_t twice = (uint64_t)(uintptr_t)dlsym(handle, "twice");
	uint64_t rule = rule_at(&copy, twice);

	dlclose(handle);
	ck_assert_uint_eq(rule_at(&copy, twice), rule);
	ck_assert_int_eq(sp_rule_kind(rule), SP_RULE_CFA_RSP);
}
END_TEST

START_TEST(unloaded_library_is_gone_and_its_id_never_comes_back)
{
	uint16_t id;
	void *handle;
	void *address;

	ck_assert(compile_library(library_source, "-O1", library));
	handle = dlopen(library, RTLD_NOW);
	refresh();
	address = dlsym(handle, "twice");
	id = module_at(address)->id;
	dlclose(handle);
	refresh();
	ck_assert_ptr_null(module_at(address));
	reclaim();
	handle = dlopen(library, RTLD_NOW);
	refresh();
	ck_assert_uint_gt(module_at(dlsym(handle, "twice"))->id, id);
	dlclose(handle);
}
END_TEST

static uint64_t told_start;
static const void *told_link_map;
static uint32_t told_times;
static bool is_told_enough;

static bool note_loaded(uint64_t start, const void *link_map)
{
	if (start != told_start)
		return true;
	told_link_map = link_map;
	told_times++;
	return is_told_enough;
}

START_TEST(loaded_library_is_told_until_it_is_enough)
{
	struct link_map *map;
	void *handle;

	told_times = 0;
	is_told_enough = false;
	ck_assert(compile_library(library_source, "-O1", library));
	sp_modules_set_loaded(modules, note_loaded);
	refresh();
	handle = dlopen(library, RTLD_NOW);
	ck_assert_int_eq(dlinfo(handle, RTLD_DI_LINKMAP, &map), 0);
	told_start = map->l_addr;
	refresh();
	ck_assert_uint_eq(told_times, 1);
	ck_assert_ptr_eq(told_link_map, map);
	is_told_enough = true;
	refresh();
	refresh();
	ck_assert_uint_eq(told_times, 2);
	dlclose(handle);
	refresh();
	ck_assert_uint_eq(told_times, 2);
}
END_TEST

START_TEST(library_of_the_start_is_not_told)
{
	told_times = 0; /* tests may share a process */
	sp_modules_set_loaded(modules, note_loaded);
	for (const struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
		told_start = map->l_addr;
		refresh();
		ck_assert_uint_eq(told_times, 0);
	}
}
END_TEST

START_TEST(other_library_at_the_same_place_is_another_module)
{
	const char *sources[] = {"int f(int x) { return x + 1; }",
				 "int f(int x) { return x * 77; }"};
	uint16_t id[2];

	for (int i = 0; i < 2; i++) {
		void *handle;

		ck_assert(compile_library(sources[i], "-O1 -Wl,--build-id", library));
		handle = dlopen(library, RTLD_NOW);
		refresh();
		id[i] = module_at(dlsym(handle, "f"))->id;
		dlclose(handle);
		unlink(library);
	}
	ck_assert_uint_ne(id[0], id[1]);
}
END_TEST

START_TEST(other_modules_keep_their_ids_while_libraries_come_and_go)
{
	uint16_t libc = module_at(dlsym(RTLD_DEFAULT, "malloc"))->id;
	void *handle;

	ck_assert(compile_library(library_source, "-O1", library));
	for (int i = 0; i < 20; i++) {
		handle = dlopen(library, RTLD_NOW);
		refresh();
		ck_assert_uint_eq(module_at(dlsym(RTLD_DEFAULT, "malloc"))->id, libc);
		dlclose(handle);
		refresh();
		if (i % 3 == 0)
			reclaim();
	}
}
END_TEST

/* Walks that began before the first was replaced may be over, those since may not. */
START_TEST(what_is_replaced_later_waits_for_later_walks)
{
	void *handle;

	reclaim();
	reclaim();
	ck_assert(!sp_modules_has_retired(modules));
	ck_assert(!sp_modules_await_walks(modules));
	ck_assert(compile_library(library_source, "-O1", library));
	handle = dlopen(library, RTLD_NOW);
	refresh();
	ck_assert(sp_modules_await_walks(modules));
	dlclose(handle);
	refresh();
	ck_assert(!sp_modules_await_walks(modules));
	sp_modules_reclaim(modules);
	ck_assert(sp_modules_has_retired(modules));
	ck_assert(sp_modules_await_walks(modules));
	sp_modules_reclaim(modules);
	ck_assert(!sp_modules_has_retired(modules));
}
END_TEST

START_TEST(file_loaded_twice_is_two_modules)
{
	void *base = dlopen("libm.so.6", RTLD_NOW);
	void *other = dlmopen(LM_ID_NEWLM, "libm.so.6", RTLD_NOW);
	const struct sp_unwind_module *a, *b;

	ck_assert_ptr_nonnull(base);
	ck_assert_ptr_nonnull(other);
	refresh();
	a = module_at(dlsym(base, "cbrt"));
	b = module_at(dlsym(other, "cbrt"));
	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_nonnull(b);
	ck_assert_uint_ne(a->id, b->id);
	ck_assert_str_eq(announced.path[a->id - 1], announced.path[b->id - 1]);
}
END_TEST

START_TEST(deleted_file_keeps_its_name_and_its_data)
{
	const struct sp_unwind_module *module;
	void *handle;

	ck_assert(compile_library(library_source, "-O1", library));
	handle = dlopen(library, RTLD_NOW);
	unlink(library);
	refresh();
	module = module_at(dlsym(handle, "twice"));
	ck_assert_ptr_nonnull(module);
	ck_assert_str_eq(announced.path[module->id - 1], library);
	ck_assert_int_eq(sp_rule_kind(rule_at(
				 module, (uint64_t)(uintptr_t)dlsym(handle, "twice"))),
			 SP_RULE_CFA_RSP);
}
END_TEST

START_TEST(elf_file_that_is_only_read_is_no_module)
{
	uint32_t before = announced.count;
	void *data;
	int fd;

	ck_assert(compile_library(library_source, "-O1", library));
	fd = open(library, O_RDONLY);
	data = mmap(NULL, 1 << 14, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	ck_assert_ptr_ne(data, MAP_FAILED);
	refresh();
	ck_assert_uint_eq(announced.count, before);
	ck_assert_ptr_null(module_at(data));
}
END_TEST

START_TEST(generated_code_is_listed_as_code_without_module)
{
	void *code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t start = (uint64_t)(uintptr_t)code;
	bool is_listed = false;

	ck_assert_ptr_ne(code, MAP_FAILED);
	refresh();
	for (uint32_t i = 0; i < snapshot()->code_count; i++)
		is_listed = is_listed || (snapshot()->code[i].start <= start &&
					  snapshot()->code[i].end >= start + 8192);
	ck_assert(is_listed);
	munmap(code, 8192);
	refresh();
	for (uint32_t i = 0; i < snapshot()->code_count; i++)
		ck_assert(snapshot()->code[i].start > start ||
			  snapshot()->code[i].end <= start);
}
END_TEST

START_TEST(full_module_table_leaves_id_zero)
{
	void *handle;

	ck_assert(compile_library(library_source, "-O1", library));
	announced.count = ANNOUNCED_MAX;
	handle = dlopen(library, RTLD_NOW);
	refresh();
	ck_assert_ptr_nonnull(module_at(dlsym(handle, "twice")));
	ck_assert_uint_eq(module_at(dlsym(handle, "twice"))->id, 0);
}
END_TEST

/* The rules of a library without search table must be those it has with one. */
START_TEST(missing_search_table_is_built)
{
	const struct sp_unwind_module *libc = module_at(dlsym(RTLD_DEFAULT, "malloc"));
	struct sp_unwind_module without = {.start = libc->start,
					   .end = libc->end,
					   .base = libc->base,
					   .is_permanent = true};
	struct sp_elf_image image = {.start = libc->start,
				     .end = libc->end,
				     .base = libc->base,
				     .eh_frame_address = libc->eh_frame_address,
				     .eh_frame_bytes = libc->eh_frame_bytes};
	struct sp_frames_areas areas;
	uint32_t compared = 0;

	ck_assert_int_eq(sp_frames_prepare(&image, "", &without, &areas), 0);
	ck_assert_uint_gt(without.fde_count, 1000);
	for (uint64_t at = libc->text_start; at < libc->text_end; at += 97) {
		ck_assert_uint_eq(rule_at(&without, at), rule_at(libc, at));
		compared++;
	}
	ck_assert_uint_gt(compared, 1000);
	sp_frames_release(&areas);
}
END_TEST

START_TEST(list_of_any_length_and_lines_of_any_length_are_read)
{
	struct sp_maps maps = {0};
	char name[] = "/tmp/sp_test_maps_XXXXXX";
	int fd = mkstemp(name);
	FILE *file = fdopen(fd, "w");

	for (unsigned int i = 0; i < 5000; i++) {
		fprintf(file, "%x000-%x000 r-xp 00000000 08:01 %u    /", 0x1000 + 2 * i,
			0x1000 + 2 * i + 1, i + 1);
		for (unsigned int j = 0; j < (i % 100 == 7 ? 16000 : 5); j++)
			fputc('a' + (int)(i % 26), file);
		fputs(i == 3 ? "\\012 (deleted)\n" : "\n", file);
	}
	/* Anonymous, overlapping and meaningless lines. */
	fputs("ffff0000-ffff1000 rw-p 00000000 00:00 0 \n", file);
	fputs("1000000-1001000 r-xp 00000000 08:01 1   /late\n", file);
	fputs("nonsense\n\n-\nfff10000-fff", file);
	fclose(file);
	ck_assert_int_eq(sp_maps_read(&maps, open(name, O_RDONLY)), 0);
	unlink(name);
	ck_assert_uint_eq(maps.count, 5000);
	ck_assert_uint_eq(strlen(sp_maps_path(&maps, &maps.maps[7])), 16001);
	ck_assert_str_eq(sp_maps_path(&maps, &maps.maps[3]), "/ddddd\n");
	ck_assert_str_eq(sp_maps_path(&maps, &maps.maps[4999]), "/hhhhh");
	ck_assert_uint_eq(maps.maps[4999].inode, 5000);
	sp_maps_free(&maps);
}
END_TEST

START_TEST(destroyed_tracker_leaves_no_snapshot)
{
	ck_assert_ptr_nonnull(snapshot());
	sp_modules_destroy(modules);
	ck_assert_ptr_null(snapshot());
	modules = sp_modules_create(announce, &announced);
	refresh();
	ck_assert_ptr_nonnull(snapshot());
}
END_TEST

START_TEST(missing_list_of_mappings_is_an_error)
{
	struct sp_maps maps = {0};

	ck_assert_int_eq(sp_maps_read(&maps, -ENOENT), -ENOENT);
	ck_assert_uint_eq(maps.count, 0);
	sp_maps_free(&maps);
}
END_TEST

static void *churn(void *is_done)
{
	while (!atomic_load((atomic_bool *)is_done)) {
		void *handle = dlopen(library, RTLD_NOW);

		if (handle)
			dlclose(handle);
	}
	return NULL;
}

START_TEST(refresh_survives_libraries_that_come_and_go_meanwhile)
{
	atomic_bool is_done = false;
	pthread_t thread;

	ck_assert(compile_library(library_source, "-O1", library));
	ck_assert_int_eq(pthread_create(&thread, NULL, churn, &is_done), 0);
	for (int i = 0; i < 400; i++) {
		announced.count = announced.count > 400 ? 100 : announced.count;
		refresh();
		reclaim();
	}
	atomic_store(&is_done, true);
	pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("loaded modules");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, program_is_announced_as_the_main_module);
	tcase_add_test(tc, offset_from_the_base_is_the_elf_address);
	tcase_add_test(tc, modules_carry_their_build_ids);
	tcase_add_test(tc, libraries_of_the_start_are_permanent_and_read_in_place);
	tcase_add_test(tc, library_opened_before_the_first_scan_is_not_permanent);
	tcase_add_test(tc, vdso_is_a_module_with_unwind_data);
	tcase_add_test(tc, nothing_is_published_when_nothing_changed);
	tcase_add_test(tc, loaded_library_gets_an_id_and_private_copies);
	tcase_add_test(tc, unloaded_library_is_gone_and_its_id_never_comes_back);
	tcase_add_test(tc, loaded_library_is_told_until_it_is_enough);
	tcase_add_test(tc, library_of_the_start_is_not_told);
	tcase_add_test(tc, other_library_at_the_same_place_is_another_module);
	tcase_add_test(tc, other_modules_keep_their_ids_while_libraries_come_and_go);
	tcase_add_test(tc, what_is_replaced_later_waits_for_later_walks);
	tcase_add_test(tc, file_loaded_twice_is_two_modules);
	tcase_add_test(tc, deleted_file_keeps_its_name_and_its_data);
	tcase_add_test(tc, elf_file_that_is_only_read_is_no_module);
	tcase_add_test(tc, generated_code_is_listed_as_code_without_module);
	tcase_add_test(tc, full_module_table_leaves_id_zero);
	tcase_add_test(tc, missing_search_table_is_built);
	tcase_add_test(tc, list_of_any_length_and_lines_of_any_length_are_read);
	tcase_add_test(tc, destroyed_tracker_leaves_no_snapshot);
	tcase_add_test(tc, missing_list_of_mappings_is_an_error);
	tcase_add_test(tc, refresh_survives_libraries_that_come_and_go_meanwhile);
	return run_suite("modules", tc);
}
