/* Which modules are believed after one of them was unloaded, and when another has come
 * to lie in its place. */
#include "run_suite.h"
#include "sp_compiler.h"
#include "unwind_fixture.h"
#include "unwind_step.h"

#include <check.h>
#include <dlfcn.h>
#include <link.h>

#define FRAMES_MAX 128
#define TRIES_MAX 100

static struct announced announced;
static struct sp_modules *modules;
static char first[64], second[64], other[64];

/* What happens when the module of this path has been read, before it is published. */
static const char *path_awaited;
static void (*happens)(void);

static uint16_t announce_and_act(void *context, const struct sp_module_info *info)
{
	if (path_awaited && strcmp(info->path, path_awaited) == 0) {
		path_awaited = NULL;
		happens();
	}
	return announce(context, info);
}

static void compile(char path[64], const char *name, const char *source)
{
	snprintf(path, 64, "/tmp/sp_test_modules_unloads_%d_%s.so", (int)getpid(), name);
	ck_assert(compile_library(source, "-O1 -Wl,--build-id", path));
}

static void setup(void)
{
	announced.count = 0;
	modules = sp_modules_create(announce_and_act, &announced);
	ck_assert_ptr_nonnull(modules);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	/* Of one layout. */
	compile(first, "first",
		"int work_1(int (*call)(int), int n) { return call(n) + 1; }\n");
	compile(second, "second",
		"int work_2(int (*call)(int), int n) { return call(n) + 2; }\n");
	compile(other, "other", "int other(int n) { return n + 3; }\n");
}

static void teardown(void)
{
	unlink(first);
	unlink(second);
	unlink(other);
	path_awaited = NULL;
	sp_modules_destroy(modules);
}

static void *open_library(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	ck_assert_ptr_nonnull(handle);
	return handle;
}

/* As the program's dlclose() is hooked. */
static void close_library(void *handle)
{
	atomic_fetch_add(&sp_unwind_closes, 1);
	ck_assert_int_eq(dlclose(handle), 0);
	atomic_fetch_add(&sp_unwind_closes, 1);
	sp_unwind_mark_unloaded();
}

static uint64_t place_of(const void *handle)
{
	return ((const struct link_map *)handle)->l_addr;
}

static uint64_t address_of(void *handle, const char *name)
{
	void *address = dlsym(handle, name);

	ck_assert_ptr_nonnull(address);
	return (uint64_t)(uintptr_t)address;
}

static void refresh(void)
{
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
}

static bool is_believed(uint64_t address)
{
	const struct sp_unwind_module *module =
		sp_unwind_find_module(snapshot(), address);

	return module && sp_walk_is_still_loaded(module, address);
}

static const char *path_at(uint64_t address)
{
	const struct sp_unwind_module *module =
		sp_unwind_find_module(snapshot(), address);

	ck_assert_ptr_nonnull(module);
	return announced.path[module->id - 1];
}

/*
 * Closes the first and opens the second until that lies in its place, as the kernel
 * mostly has it. The first is in the snapshot each time.
 */
static void *put_second_in_place_of_first(void)
{
	for (int tries = 0; tries < TRIES_MAX; tries++) {
		void *handle = open_library(first);
		uint64_t place = place_of(handle);

		refresh();
		ck_assert(is_believed(address_of(handle, "work_1")));
		close_library(handle);
		handle = open_library(second);
		if (place_of(handle) == place)
			return handle;
		close_library(handle);
	}
	ck_abort_msg("the second never lay in the place of the first");
	return NULL;
}

START_TEST(unload_takes_the_belief_in_nothing_else)
{
	void *handle = open_library(first), *kept = open_library(other);
	uint64_t kept_address = address_of(kept, "other");
	uint64_t address = address_of(handle, "work_1");

	refresh();
	ck_assert(is_believed(address));
	ck_assert(is_believed(kept_address));
	close_library(handle);
	ck_assert(!is_believed(address));
	ck_assert(is_believed(kept_address));
	refresh();
	ck_assert(is_believed(kept_address));
	close_library(kept);
}
END_TEST

START_TEST(close_that_unloads_nothing_takes_no_belief)
{
	void *handle = open_library(first);
	uint64_t address = address_of(handle, "work_1");

	refresh();
	close_library(open_library(first));
	ck_assert(is_believed(address));
	close_library(handle);
}
END_TEST

START_TEST(library_in_the_place_of_another_is_not_taken_for_it)
{
	void *handle = put_second_in_place_of_first();
	uint64_t address = address_of(handle, "work_2");

	ck_assert(!is_believed(address));
	refresh();
	ck_assert(is_believed(address));
	ck_assert_str_eq(path_at(address), second);
	close_library(handle);
}
END_TEST

static void *to_close, *opened;

static void close_and_open_second(void)
{
	close_library(to_close);
	opened = open_library(second);
}

/* It was read and is no more, and no snapshot had it by which that could be noticed. */
START_TEST(library_that_is_replaced_in_a_scan_is_not_taken_for_the_other)
{
	uint64_t address;
	uint64_t place = 0;

	for (int tries = 0; tries < TRIES_MAX; tries++) {
		to_close = open_library(first);
		place = place_of(to_close);
		path_awaited = first;
		happens = close_and_open_second;
		refresh();
		ck_assert_ptr_null(path_awaited);
		if (place_of(opened) == place)
			break;
		close_library(opened);
		refresh();
	}
	ck_assert_uint_eq(place_of(opened), place);
	address = address_of(opened, "work_2");
	ck_assert(is_believed(address));
	ck_assert_str_eq(path_at(address), second);
	close_library(opened);
}
END_TEST

static void close_it(void)
{
	close_library(to_close);
}

START_TEST(close_of_another_in_a_scan_makes_for_one_more)
{
	void *handle;
	uint64_t address;

	to_close = open_library(other);
	refresh();
	handle = open_library(first);
	path_awaited = first;
	happens = close_it;
	refresh();
	address = address_of(handle, "work_1");
	ck_assert(is_believed(address));
	ck_assert_str_eq(path_at(address), first);
	close_library(handle);
	ck_assert(!is_believed(address));
}
END_TEST

/* --- stacks of before --- */

static uint64_t closes_then;
static enum sp_unwind_end end;

static SP_NOINLINE int walk_here(int unused)
{
	struct sp_unwind_stack stack = own_stack();
	uint64_t frames[FRAMES_MAX];
	struct sp_unwind_regs regs;

	stack.closes = closes_then;
	sp_unwind_regs_here(&regs);
	end = sp_unwind(snapshot(), &regs, &stack, frames, FRAMES_MAX).end;
	return unused;
}

static enum sp_unwind_end walk_through(void *handle, const char *name, uint64_t closes)
{
	int (*work)(int (*)(int), int);

	*(void **)&work = dlsym(handle, name);
	closes_then = closes;
	work(walk_here, 0);
	return end;
}

START_TEST(stack_of_before_is_not_of_what_was_opened_since)
{
	uint64_t before = atomic_load(&sp_unwind_closes);
	void *handle = put_second_in_place_of_first();
	uint64_t now = atomic_load(&sp_unwind_closes);

	ck_assert_int_eq(walk_through(handle, "work_2", UINT64_MAX), SP_UNWIND_NO_MODULE);
	refresh();
	ck_assert_int_eq(walk_through(handle, "work_2", UINT64_MAX), SP_UNWIND_OUTERMOST);
	ck_assert_int_eq(walk_through(handle, "work_2", now), SP_UNWIND_OUTERMOST);
	ck_assert_int_eq(walk_through(handle, "work_2", now - 1), SP_UNWIND_NO_MODULE);
	ck_assert_int_eq(walk_through(handle, "work_2", before), SP_UNWIND_NO_MODULE);
	close_library(handle);
}
END_TEST

START_TEST(stack_of_before_is_of_what_has_been_there_since)
{
	void *handle = open_library(first);
	uint64_t then;

	refresh();
	then = atomic_load(&sp_unwind_closes);
	for (int i = 0; i < 3; i++) {
		close_library(open_library(other));
		refresh();
		ck_assert_int_eq(walk_through(handle, "work_1", then),
				 SP_UNWIND_OUTERMOST);
	}
	close_library(handle);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("unloads");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, unload_takes_the_belief_in_nothing_else);
	tcase_add_test(tc, close_that_unloads_nothing_takes_no_belief);
	tcase_add_test(tc, library_in_the_place_of_another_is_not_taken_for_it);
	tcase_add_test(tc, library_that_is_replaced_in_a_scan_is_not_taken_for_the_other);
	tcase_add_test(tc, close_of_another_in_a_scan_makes_for_one_more);
	tcase_add_test(tc, stack_of_before_is_not_of_what_was_opened_since);
	tcase_add_test(tc, stack_of_before_is_of_what_has_been_there_since);
	return run_suite("modules_unloads", tc);
}
