/*
 * The allocator under the agent: every function of the family does what it does
 * without us, wherever it is called from, also when every block is sampled; and what
 * was allocated there is found.
 */
#include "heap_profile.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVERY_BLOCK "SPANPROF_HEAP_RATE=1"
/* What lib_heap_early.c allocates in its constructor. */
#define EARLY_BYTES (64 * 10 + 64 * 63 / 2 * 1000 + 64 * 100 + 100000)

static struct victim *run(const char *program, const char *mode, bool is_bare,
			  const char *const *environment, void (*before_exec)(void *))
{
	struct victim_setup setup = {
		.argv = (const char *const[]){program, mode, NULL},
		.environment = environment,
		.is_bare = is_bare,
		.before_exec = before_exec,
	};

	return victim_run(&setup);
}

static const struct {
	const char *rate, *other;
} settings[] = {
	{EVERY_BLOCK, "NONE"},
	{"SPANPROF_HEAP_RATE=524288", "NONE"},
	{"SPANPROF_HEAP_RATE=1000", "NONE"},
	{EVERY_BLOCK, "SPANPROF_UNWINDER=libunwind"},
	{EVERY_BLOCK, "MALLOC_PERTURB_=85"},
	{EVERY_BLOCK, "MALLOC_ARENA_MAX=1"},
	{EVERY_BLOCK, "GLIBC_TUNABLES=glibc.malloc.tcache_count=0"},
	{EVERY_BLOCK, "SPANPROF_RECORDING_SIZE=1M"},
};

START_TEST(family_is_as_without_us)
{
	const char *const environment[] = {settings[_i].rate, settings[_i].other, NULL};
	struct victim *bare = run("heap_family", "", true, environment, NULL);
	struct victim *agent = run("heap_family", "", false, environment, NULL);

	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

/* The family under whatever stands behind the agent, as if it stood alone. */
static void check_behind(const char *library, const char *mode)
{
	char bare_preload[PATH_MAX + 16], preload[2 * PATH_MAX + 32];
	struct victim_setup setup = {
		.argv = (const char *const[]){"heap_family", mode, NULL},
		.environment =
			(const char *const[]){bare_preload, EVERY_BLOCK,
					      "GLIBC_TUNABLES=glibc.malloc.check=3",
					      NULL},
		.is_bare = true,
	};
	struct victim *bare, *agent;

	snprintf(bare_preload, sizeof(bare_preload), "LD_PRELOAD=%s", library);
	bare = victim_run(&setup);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s:%s", victim_agent_path(),
		 library);
	setup.is_bare = false;
	setup.is_agent_preloaded_by_caller = true;
	setup.environment = (const char *const[]){
		preload, EVERY_BLOCK, "GLIBC_TUNABLES=glibc.malloc.check=3", NULL};
	agent = victim_run(&setup);
	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	victim_free(bare);
	victim_free(agent);
}

/* Other allocators, which then serve the program under the agent too. */
static const char *const allocators[] = {"libc_malloc_debug.so.0", "libjemalloc.so.2",
					 "libtcmalloc_minimal.so.4"};

START_TEST(family_of_another_allocator_is_as_without_us)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/lib/x86_64-linux-gnu/%s", allocators[_i]);
	if (access(path, R_OK) != 0) {
		printf("no %s: skipped\n", path);
		return;
	}
	check_behind(path, "other");
}
END_TEST

/* Which stand in front of some of the C library's functions: the others stay its own. */
static const char *const tracers[] = {"lib_heap_tracer.so", "lib_heap_tracer_malloc.so",
				      "lib_heap_tracer_free.so"};

START_TEST(tracer_meets_what_it_meets_without_us)
{
	char path[PATH_MAX];

	check_behind(victim_program_path(tracers[_i], path), "");
}
END_TEST

static void limit_address_space(void *unused)
{
	struct rlimit limit = {250 << 20, 250 << 20};

	(void)unused;
	setrlimit(RLIMIT_AS, &limit);
}

static void limit_data(void *unused)
{
	struct rlimit limit = {200 << 20, 200 << 20};

	(void)unused;
	setrlimit(RLIMIT_DATA, &limit);
}

static const struct {
	const char *mode;
	void (*limit)(void *);
} limits[] = {
	{"limited", limit_address_space},
	{"limited", limit_data},
	{"", limit_address_space},
	{"", limit_data},
};

/* Also where nothing is left for the agent itself. */
START_TEST(failing_allocations_fail_as_without_us)
{
	const char *const environment[] = {EVERY_BLOCK, NULL};
	struct victim *bare =
		run("heap_family", limits[_i].mode, true, environment, limits[_i].limit);
	struct victim *agent =
		run("heap_family", limits[_i].mode, false, environment, limits[_i].limit);

	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

static const struct {
	const char *mode;
	const char *place; /* its allocations are told, and are all in the profile */
	bool is_output_the_same;
} places[] = {
	{"ends", NULL, true},
	{"specific", "specific_allocate", true},
	{"threads", "exiting_allocate", false},
	{"threads", "cancelled_allocate", false},
	{"small", "small_allocate", true},
	{"coroutines", "coroutine_allocate", true},
	{"signals", "main_allocate", false},
};

START_TEST(place_is_as_without_us_and_all_of_it_is_found)
{
	const char *const environment[] = {EVERY_BLOCK, NULL};
	struct victim *bare =
		run("heap_places", places[_i].mode, true, environment, NULL);
	struct victim *agent =
		run("heap_places", places[_i].mode, false, environment, NULL);
	struct heap_profile *profile = heap_profile_of(agent, "heap");

	victim_assert_success(bare);
	victim_assert_success(agent);
	ck_assert_str_eq(bare->errors, agent->errors);
	if (places[_i].is_output_the_same)
		victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	if (places[_i].place != NULL) {
		struct heap_sums sums = heap_profile_with(profile, places[_i].place);

		double counted = heap_profile_loss(profile, HEAP_LOSS_ONLY_COUNTED);

		/* What comes after the end of a thread was noticed has no stack. */
		if (strcmp(places[_i].mode, "specific") != 0)
			ck_assert(counted == 0);
		ck_assert_int_eq(sums.alloc_objects + (int64_t)counted,
				 victim_number(agent->output, places[_i].place));
	}
	heap_profile_free(profile);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

START_TEST(blocks_from_before_and_after_everything_are_found)
{
	const char *const environment[] = {EVERY_BLOCK, NULL};
	struct victim *agent = run("heap_places", "ends", false, environment, NULL);
	struct heap_profile *profile = heap_profile_of(agent, "heap");
	struct heap_sums early = heap_profile_with(profile, "early_allocate");
	struct heap_sums late = heap_profile_with(profile, "handler_allocate");

	victim_assert_success(agent);
	/* In the constructor of a library that comes before ours: only counted. */
	ck_assert_int_eq(early.alloc_objects, 0);
	ck_assert(heap_profile_told(profile, "before: ") >= EARLY_BYTES);
	ck_assert(heap_profile_told(profile, "before: ") < EARLY_BYTES + 100000);
	/* Exit handlers run before our end; destructors may come after it. */
	ck_assert_int_ge(late.alloc_objects, 11);
	ck_assert_int_le(late.alloc_objects, 12);
	ck_assert_int_eq(late.inuse_objects, 1);
	ck_assert_int_eq(late.inuse_bytes, 60);
	heap_profile_free(profile);
	victim_free(agent);
}
END_TEST

/* Process ids differ from run to run, and have more or fewer digits. */
static void drop_pids(char *text)
{
	char *at;

	while ((at = strstr(text, "_pid=")) != NULL) {
		char *end = at + strcspn(at, "\n");

		at += strlen("_pid");
		memmove(at, end, strlen(end) + 1);
	}
}

static const struct {
	const char *mode;
	bool is_child_here;	/* it frees blocks of its parent */
	bool has_child_profile; /* it has its ends noticed */
} children[] = {
	{"fork", true, true},	 {"exit", true, true},	  {"_Fork", true, false},
	{"clone", true, false},	 {"vfork", false, false}, {"spawn", false, false},
	{"storm", false, false},
};

static struct heap_profile *profile_of(const struct victim *victim, long long pid)
{
	char path[PATH_MAX];

	return heap_profile_read(heap_profile_path(victim, (int)pid, "heap", path),
				 "heap");
}

static void assert_parent(const struct victim *victim)
{
	struct heap_profile *profile =
		profile_of(victim, victim_number(victim->output, "parent_pid"));
	struct heap_sums own = heap_profile_with(profile, "parent_allocate");
	struct heap_sums of_child = heap_profile_with(profile, "child_allocate");

	ck_assert_int_eq(own.alloc_objects, 100);
	ck_assert_int_eq(own.alloc_bytes, 50000);
	ck_assert_int_eq(own.inuse_objects, 90);
	ck_assert_int_eq(own.inuse_bytes, 45000);
	ck_assert_uint_eq(of_child.samples, 0);
	ck_assert_uint_eq(heap_profile_with(profile, "child_resize").samples, 0);
	ck_assert_ptr_null(heap_profile_comment(profile, "fork: "));
	heap_profile_free(profile);
}

static void assert_child(const struct victim *victim)
{
	struct heap_profile *profile =
		profile_of(victim, victim_number(victim->output, "child_pid"));
	struct heap_sums own = heap_profile_with(profile, "child_allocate");
	struct heap_sums resized = heap_profile_with(profile, "child_resize");
	struct heap_account account = heap_profile_account(profile);

	ck_assert_int_eq(own.alloc_objects, 200);
	ck_assert_int_eq(own.alloc_bytes, 200 * 700);
	ck_assert_int_eq(own.inuse_objects, 50);
	ck_assert_int_eq(own.inuse_bytes, 50 * 700);
	ck_assert_int_eq(resized.alloc_objects, 20);
	ck_assert_int_eq(resized.inuse_bytes, 20 * 3000);
	/* Those of its parent's blocks, but none of NULL. */
	ck_assert(account.allocations == 200 + 20);
	ck_assert(account.frees == 40 + 20 + 150);
	/* Blocks that it got from its parent are its parent's. */
	ck_assert_uint_eq(heap_profile_with(profile, "parent_allocate").samples, 0);
	ck_assert_ptr_nonnull(heap_profile_comment(profile, "fork: "));
	heap_profile_free(profile);
}

START_TEST(child_is_as_without_us_and_each_has_its_own)
{
	const char *mode = children[_i].mode;
	const char *const environment[] = {EVERY_BLOCK, NULL};
	struct victim *bare = run("heap_children", mode, true, environment, NULL);
	struct victim *agent = run("heap_children", mode, false, environment, NULL);

	victim_assert_success(bare);
	assert_parent(agent);
	if (children[_i].has_child_profile)
		assert_child(agent);
	drop_pids(bare->output);
	drop_pids(agent->output);
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, family_is_as_without_us, 0, COUNT(settings));
	tcase_add_loop_test(tcase, family_of_another_allocator_is_as_without_us, 0,
			    COUNT(allocators));
	tcase_add_loop_test(tcase, tracer_meets_what_it_meets_without_us, 0,
			    COUNT(tracers));
	tcase_add_loop_test(tcase, failing_allocations_fail_as_without_us, 0,
			    COUNT(limits));
	tcase_add_loop_test(tcase, place_is_as_without_us_and_all_of_it_is_found, 0,
			    COUNT(places));
	tcase_add_test(tcase, blocks_from_before_and_after_everything_are_found);
	tcase_add_loop_test(tcase, child_is_as_without_us_and_each_has_its_own, 0,
			    COUNT(children));
}

int main(void)
{
	return victim_main("heap_family", add);
}
