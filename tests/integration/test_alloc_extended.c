/*
 * Allocators that are libraries of their own, called by operator new and mallocx() and
 * past malloc(): programs run as without us, and every block is counted once, whether
 * the library calls its own malloc() on the way or not.
 */
#include "heap_profile.h"
#include "victim.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of alloc_extended.cpp. */
#define BLOCKS 100
#define BYTES 192
#define LARGE_BYTES (1 << 20)

static const char *const allocators[] = {
	"alloc_extended_plain",
	"alloc_extended_tcmalloc",
	"alloc_extended_tcmalloc_minimal",
	"alloc_extended_jemalloc",
	"alloc_extended_mimalloc",
};
#define ALLOCATORS (sizeof(allocators) / sizeof(allocators[0]))

/* Each allocates BLOCKS blocks and gives half of them back. */
static const char *const pairs[] = {
	"use_new",
	"use_new_sized",
	"use_new_nothrow",
	"use_new_aligned",
	"use_new_aligned_sized",
	"use_new_aligned_nothrow",
	"use_array",
	"use_array_sized",
	"use_array_nothrow",
	"use_array_aligned",
	"use_array_aligned_sized",
	"use_array_aligned_nothrow",
	"use_malloc",
	"use_new_free",
	"use_malloc_delete",
	"use_pointers",
	"use_string",
};
static const char *const jemalloc_pairs[] = {
	"use_mallocx",
	"use_mallocx_sized",
	"use_mallocx_free",
};

/* It takes a C++ compiler and that allocator to build the program. */
static bool is_there(const char *program)
{
	char path[PATH_MAX];

	if (access(victim_program_path(program, path), X_OK) == 0)
		return true;
	printf("no %s: skipped\n", program);
	return false;
}

static struct victim *run(const char *program, const char *rate)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){program, NULL},
		.environment = (const char *const[]){rate, NULL},
	};

	return victim_run_both(&setup);
}

/*
 * Asserts what a pair allocated, and returns how many of its blocks are missing among
 * those in use.
 */
static int64_t check_pair(const struct heap_profile *profile, const char *function)
{
	struct heap_sums sums = heap_profile_with(profile, function);

	ck_assert_msg(sums.alloc_objects == BLOCKS &&
			      sums.alloc_bytes == BLOCKS * BYTES &&
			      sums.inuse_objects <= BLOCKS / 2 &&
			      sums.inuse_bytes == sums.inuse_objects * BYTES,
		      "%s: %lld of %lld blocks in use, %lld of %lld bytes", function,
		      (long long)sums.inuse_objects, (long long)sums.alloc_objects,
		      (long long)sums.inuse_bytes, (long long)sums.alloc_bytes);
	return BLOCKS / 2 - sums.inuse_objects;
}

/*
 * A block that found no room in the table counts as allocated, never as in use. The
 * profile holds as many blocks as were counted.
 */
static void assert_missing(const struct heap_profile *profile, int64_t blocks)
{
	double most = heap_profile_loss(profile, HEAP_LOSS_UNTRACKED);
	struct heap_account account = heap_profile_account(profile);
	struct heap_sums total = heap_profile_total(profile);
	double missing =
		account.allocations - account.frees - (double)total.inuse_objects;

	ck_assert_msg((double)blocks <= most, "%lld blocks missing", (long long)blocks);
	ck_assert_int_eq((int64_t)account.allocations, total.alloc_objects);
	ck_assert_int_eq((int64_t)account.bytes, total.alloc_bytes);
	ck_assert_msg(missing >= 0 && missing <= most,
		      "%.0f allocations, %.0f frees, %lld in use", account.allocations,
		      account.frees, (long long)total.inuse_objects);
	ck_assert(heap_profile_loss(profile, HEAP_LOSS_STALE) == 0);
}

START_TEST(every_block_is_counted_once)
{
	struct heap_profile *profile;
	struct heap_sums sums;
	struct victim *victim;
	int64_t missing = 0;

	if (!is_there(allocators[_i]))
		return;
	victim = run(allocators[_i], "SPANPROF_HEAP_RATE=1");
	profile = heap_profile_of(victim, "heap");
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		missing += check_pair(profile, pairs[i]);
	assert_missing(profile, missing);
	/* The thread itself takes some. */
	sums = heap_profile_with(profile, "use_thread");
	ck_assert_int_ge(sums.alloc_objects, BLOCKS);
	ck_assert_int_lt(sums.alloc_objects, BLOCKS + 10);
	ck_assert_int_eq(heap_profile_with(profile, "use_nothing").alloc_objects, 0);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* operator new is still that of the allocator that the tracer stands in front of. */
START_TEST(every_block_is_counted_once_behind_a_tracer)
{
	char tracer[PATH_MAX], preload[2 * PATH_MAX + 32];
	struct victim_setup setup = {
		.argv = (const char *const[]){allocators[_i], NULL},
		.environment =
			(const char *const[]){preload, "SPANPROF_HEAP_RATE=1", NULL},
		.is_agent_preloaded_by_caller = true,
	};
	struct heap_profile *profile;
	struct victim *victim;
	int64_t missing = 0;

	if (!is_there(allocators[_i]))
		return;
	victim_program_path("lib_heap_tracer_malloc.so", tracer);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s:%s", victim_agent_path(),
		 tracer);
	victim = victim_run(&setup);
	victim_assert_success(victim);
	ck_assert_ptr_nonnull(strstr(victim->output, "traced: "));
	profile = heap_profile_of(victim, "heap");
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		missing += check_pair(profile, pairs[i]);
	assert_missing(profile, missing);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(calls_of_jemalloc_are_counted_once)
{
	const char *program = "alloc_extended_jemalloc";
	struct heap_profile *profile;
	struct heap_sums sums;
	struct victim *victim;
	int64_t missing = 0;
	long long shrunk;

	if (!is_there(program))
		return;
	victim = run(program, "SPANPROF_HEAP_RATE=1");
	profile = heap_profile_of(victim, "heap");
	ck_assert_ptr_nonnull(strstr(victim->output, "mallocx is there"));
	for (size_t i = 0; i < sizeof(jemalloc_pairs) / sizeof(jemalloc_pairs[0]); i++)
		missing += check_pair(profile, jemalloc_pairs[i]);

	/* 1, 5 and 2 times BYTES one after the other. */
	sums = heap_profile_with(profile, "use_rallocx");
	ck_assert_int_eq(sums.alloc_objects, 3 * BLOCKS);
	ck_assert_int_eq(sums.alloc_bytes, (1 + 5 + 2) * BYTES * BLOCKS);
	ck_assert_int_le(sums.inuse_objects, BLOCKS / 2);
	missing += BLOCKS / 2 - sums.inuse_objects;
	ck_assert_int_eq(sums.inuse_bytes, 2 * BYTES * sums.inuse_objects);

	shrunk = victim_number(victim->output, "shrunk");
	ck_assert_int_gt(shrunk, 0);
	sums = heap_profile_with(profile, "use_xallocx");
	ck_assert_int_eq(sums.alloc_objects, BLOCKS + shrunk);
	ck_assert_int_eq(sums.alloc_bytes,
			 (int64_t)LARGE_BYTES * BLOCKS + shrunk * LARGE_BYTES / 2);
	ck_assert_int_le(sums.inuse_objects, BLOCKS / 2);
	missing += BLOCKS / 2 - sums.inuse_objects;
	assert_missing(profile, missing);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* A program that finds mallocx() takes jemalloc for there. */
START_TEST(nothing_is_there_that_was_not)
{
	struct victim *victim;

	if (!is_there(allocators[_i]))
		return;
	victim = run(allocators[_i], "SPANPROF_HEAP_RATE=524288");
	ck_assert_int_eq(strstr(victim->output, "mallocx is there") != NULL,
			 strstr(allocators[_i], "jemalloc") != NULL);
	victim_free(victim);
}
END_TEST

/* It is patched when the agent has noticed it: some calls pass unseen before. */
START_TEST(calls_of_a_library_opened_late_are_found)
{
	char plugin[PATH_MAX];
	struct victim_setup setup = {
		.argv = (const char *const[]){allocators[_i], plugin, NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
	};
	struct heap_profile *profile;
	struct heap_sums sums;
	struct victim *victim;

	if (!is_there(allocators[_i]))
		return;
	victim_program_path("lib_alloc_plugin.so", plugin);
	victim = victim_run_both(&setup);
	profile = heap_profile_of(victim, "heap");
	sums = heap_profile_with(profile, "plugin_new");
	printf("%s: %lld of 200 blocks of a library opened late\n", allocators[_i],
	       (long long)sums.alloc_objects);
	ck_assert_int_ge(sums.alloc_objects, 20);
	ck_assert_int_le(sums.alloc_objects, 200);
	ck_assert_int_eq(sums.inuse_objects, 0);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* Linked into the program, and what the profile then says of it. */
static const struct {
	const char *program, *comment;
} insides[] = {
	{"alloc_extended_inside", "not covered: the program defines malloc()"},
	{"alloc_extended_hidden", "perhaps not covered: the program itself calls no"},
};

START_TEST(allocator_inside_the_program_is_told_of)
{
	struct heap_profile *profile;
	struct victim *victim;

	if (!is_there(insides[_i].program))
		return;
	victim = run(insides[_i].program, "SPANPROF_HEAP_RATE=1");
	profile = heap_profile_of(victim, "heap");
	ck_assert_ptr_nonnull(heap_profile_comment(profile, insides[_i].comment));
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		ck_assert_uint_eq(heap_profile_with(profile, pairs[i]).samples, 0);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

static const struct {
	const char *program;
	bool is_jemalloc; /* which complains of what it does not know */
} readers[] = {
	{"alloc_extended_plain", false},
	{"alloc_extended_jemalloc", true},
	{"alloc_extended_inside", true},
};

/* The agent has a jemalloc of its own, which these settings are not meant for. */
START_TEST(settings_of_jemalloc_are_for_the_programs)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){readers[_i].program, NULL},
		.environment =
			(const char *const[]){"MALLOC_CONF=no_such_option:1,narenas:0",
					      "SPANPROF_HEAP_RATE=1", NULL},
	};
	struct victim *victim;

	if (!is_there(readers[_i].program))
		return;
	victim = victim_run_both(&setup);
	if (readers[_i].is_jemalloc)
		ck_assert_ptr_nonnull(strstr(victim->errors, "no_such_option"));
	else
		ck_assert_str_eq(victim->errors, "");
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, every_block_is_counted_once, 0, ALLOCATORS);
	tcase_add_loop_test(tcase, every_block_is_counted_once_behind_a_tracer, 0,
			    ALLOCATORS);
	tcase_add_test(tcase, calls_of_jemalloc_are_counted_once);
	tcase_add_loop_test(tcase, nothing_is_there_that_was_not, 0, ALLOCATORS);
	tcase_add_loop_test(tcase, calls_of_a_library_opened_late_are_found, 0,
			    ALLOCATORS);
	tcase_add_loop_test(tcase, allocator_inside_the_program_is_told_of, 0,
			    sizeof(insides) / sizeof(insides[0]));
	tcase_add_loop_test(tcase, settings_of_jemalloc_are_for_the_programs, 0,
			    sizeof(readers) / sizeof(readers[0]));
}

int main(void)
{
	return victim_main("alloc_extended", add);
}
