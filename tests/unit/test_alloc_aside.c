/* Standing aside, and coming back beside a loader that stores what it found before. */
#include <check.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The hooks are not in the library of the tests: they would interpose on it. */
#include "../../agent/hooks/alloc_aside.c"

enum server { OURS, NEXT };

/* One that is linked to us, and one that we open. */
static const char *const modules[] = {"early", "late"};

static char our_block;

/* Ours is just this one, which nobody else calls. */
SP_EXPORT void *valloc(size_t size_bytes)
{
	(void)size_bytes;
	return &our_block;
}

void sp_own_block_settle(void)
{
}

/* --- a module whose slot waits for its first call --- */

struct module {
	void *handle;
	void *(*allocate)(void);
	struct sp_got_slot slot;
	uint64_t stub;
};

static bool is_valloc(const char *name, void *context)
{
	(void)context;
	return strcmp(name, "valloc") == 0;
}

static uint64_t leave(const char *name, uint64_t target, void *context)
{
	(void)name;
	(void)target;
	(void)context;
	return 0;
}

static uint64_t note_slot(const char *name, uint64_t stub, const struct sp_got_slot *slot,
			  void *context)
{
	struct module *module = context;

	(void)name;
	module->slot = *slot;
	module->stub = stub;
	return stub;
}

static struct module load(const char *name)
{
	struct module module = {.stub = 0};
	const struct sp_got_patch patch = {
		.is_wanted = is_valloc,
		.replacement_for = leave,
		.replacement_for_waiting = note_slot,
		.context = &module,
	};
	struct sp_got_result result = {0};
	struct dl_find_object found;
	struct link_map *map;
	char path[512];

	snprintf(path, sizeof(path), "%s/got_allocating_%s.so", GOT_MODULES, name);
	module.handle = dlopen(path, RTLD_LAZY);
	ck_assert_msg(module.handle != NULL, "%s", dlerror());
	module.allocate = (void *(*)(void))dlsym(module.handle, "allocate");
	ck_assert_int_eq(dlinfo(module.handle, RTLD_DI_LINKMAP, &map), 0);
	ck_assert_int_eq(_dl_find_object(map->l_ld, &found), 0);
	ck_assert_int_eq(sp_got_patch_module((uint64_t)(uintptr_t)found.dlfo_map_start,
					     map, &patch, &result),
			 0);
	ck_assert_uint_ne(module.stub, 0);
	return module;
}

static enum server who_serves(const struct module *module)
{
	/* Left as it is: in a sanitized program free() is not of the same allocator. */
	return module->allocate() == &our_block ? OURS : NEXT;
}

/* What the loader stores, at this call or later. */
static uint64_t look_up(void)
{
	return (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, "valloc");
}

static void store_late(const struct module *module, uint64_t found)
{
	ck_assert_int_eq(sp_got_replace(&module->slot, found), 0);
	ck_assert_int_eq(who_serves(module), NEXT);
}

/* --- time --- */

static uint64_t now_ns = SP_NS_PER_SECOND;

static int read_clock(clockid_t clock, struct timespec *now)
{
	(void)clock;
	now->tv_sec = (time_t)(now_ns / SP_NS_PER_SECOND);
	now->tv_nsec = (long)(now_ns % SP_NS_PER_SECOND);
	return 0;
}

static void settle_later(void)
{
	now_ns += SETTLING_GAP_NS;
	sp_alloc_settle();
}

/* --- tests --- */

/* They may share a process. */
static void end(const struct module *module)
{
	for (uint32_t i = 0; i < SETTLING_ROUNDS; i++)
		settle_later();
	ck_assert_int_eq(sp_got_replace(&module->slot, module->stub), 0);
	dlclose(module->handle);
}

START_TEST(calls_pass_us_by_until_we_come_back)
{
	struct module module = load(modules[_i]);
	uint64_t ours = look_up();

	sp_alloc_stand_aside();
	ck_assert_uint_ne(look_up(), ours);
	ck_assert(sp_alloc_is_next(look_up()));
	settle_later();
	ck_assert_int_eq(who_serves(&module), NEXT);
	sp_alloc_come_back();
	ck_assert_uint_eq(look_up(), ours);
	ck_assert_int_eq(who_serves(&module), OURS);
	end(&module);
}
END_TEST

/* The first call looks up whom to call, we come back, and it stores what it found. */
START_TEST(slot_that_the_loader_fills_late_is_mended)
{
	struct module module = load(modules[_i]);
	uint64_t found;

	sp_alloc_stand_aside();
	found = look_up();
	sp_alloc_come_back();
	for (uint32_t i = 0; i < SETTLING_ROUNDS; i++) {
		store_late(&module, found);
		settle_later();
		ck_assert_int_eq(who_serves(&module), OURS);
	}
	end(&module);
}
END_TEST

/* When many threads wake our own. */
START_TEST(rounds_that_follow_at_once_are_one)
{
	struct module module = load(modules[_i]);
	uint64_t found;

	sp_alloc_stand_aside();
	found = look_up();
	sp_alloc_come_back();
	settle_later();
	for (uint32_t i = 0; i < SETTLING_ROUNDS; i++)
		sp_alloc_settle();
	store_late(&module, found);
	settle_later();
	ck_assert_int_eq(who_serves(&module), OURS);
	end(&module);
}
END_TEST

/* --- a slot that can't be mended --- */

static void protect_slot(const struct module *module, int rights)
{
	uint64_t page = module->slot.address & ~(uint64_t)(SP_PAGE_BYTES - 1);

	ck_assert_int_eq(sp_syscall3(SYS_mprotect, page, SP_PAGE_BYTES, rights), 0);
}

/* How many lines were told. */
static int settle_and_count(int log)
{
	char text[1024];
	ssize_t count;
	int lines = 0;

	settle_later();
	count = read(log, text, sizeof(text));
	for (ssize_t i = 0; i < count; i++)
		lines += text[i] == '\n';
	return lines;
}

START_TEST(slot_that_cannot_be_mended_is_told_in_the_last_round)
{
	struct module module = load(modules[_i]);
	int log[2];
	uint64_t found;

	ck_assert_int_eq(pipe2(log, O_NONBLOCK | O_CLOEXEC), 0);
	sp_log_init(log[1], false, false);
	sp_alloc_stand_aside();
	found = look_up();
	sp_alloc_come_back();
	store_late(&module, found);
	protect_slot(&module, PROT_READ);
	for (uint32_t i = 1; i < SETTLING_ROUNDS; i++)
		ck_assert_int_eq(settle_and_count(log[0]), 0);
	ck_assert_int_eq(settle_and_count(log[0]), 1);
	ck_assert_int_eq(settle_and_count(log[0]), 0);
	protect_slot(&module, PROT_READ | PROT_WRITE);
	ck_assert_int_eq(who_serves(&module), NEXT);
	sp_log_init(-1, false, false);
	close(log[0]);
	close(log[1]);
	end(&module);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("aside");
	Suite *suite = suite_create("allocation functions");
	SRunner *runner;
	int failed, count = (int)SP_ARRAY_COUNT(modules);

	sp_clock_gettime = read_clock;
	tcase_add_loop_test(tests, calls_pass_us_by_until_we_come_back, 0, count);
	tcase_add_loop_test(tests, slot_that_the_loader_fills_late_is_mended, 0, count);
	tcase_add_loop_test(tests, rounds_that_follow_at_once_are_one, 0, count);
	tcase_add_loop_test(tests, slot_that_cannot_be_mended_is_told_in_the_last_round,
			    0, count);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
