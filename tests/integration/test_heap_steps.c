/*
 * The agent's work on blocks, interrupted at one instruction after the other by a
 * handler of the program's that forks and returns in both processes, or that jumps out
 * of it: the processes run on, and what each of them allocates is followed.
 */
#include "heap_profile.h"
#include "victim.h"

#include <string.h>

#define EVERY_BLOCK "SPANPROF_HEAP_RATE=1"
/* A point falls into each of these blocks, too, which are sampled as few are. */
#define EVERY_POINT "SPANPROF_HEAP_RATE=2"

static struct victim *run(const char *mode, const char *rate)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"heap_steps", mode, NULL},
		.environment = (const char *const[]){rate, NULL},
		.timeout_s = 120,
	};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_str_eq(victim->errors, "");
	/* There is a lot to meet. */
	ck_assert_int_ge(victim_number(victim->output, "meetings"), 50);
	return victim;
}

/* All of so many bytes. */
static void assert_site(const struct heap_profile *profile, const char *site,
			int64_t allocated, int64_t inuse, int64_t bytes)
{
	const struct heap_sums expected = {.alloc_objects = allocated,
					   .alloc_bytes = allocated * bytes,
					   .inuse_objects = inuse,
					   .inuse_bytes = inuse * bytes};

	heap_profile_assert_site(profile, site, &expected);
}

static void assert_nothing_lost(const struct heap_profile *profile)
{
	static const char *const losses[] = {HEAP_LOSS_UNTRACKED, HEAP_LOSS_STALE,
					     HEAP_LOSS_ONLY_COUNTED, "samples dropped",
					     "could not be read"};

	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++)
		ck_assert_msg(heap_profile_loss(profile, losses[i]) == 0, "%s",
			      losses[i]);
}

static void assert_parent(const struct victim *victim)
{
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	int64_t done = victim_number(victim->output, "done");

	assert_site(profile, "steps_allocate", done, 0, 777);
	assert_site(profile, "steps_resize", done, 0, 1500);
	assert_site(profile, "after_allocate", 100, 50, 555);
	assert_site(profile, "child_allocate", 0, 0, 900);
	assert_nothing_lost(profile);
	heap_profile_free(profile);
}

static const struct {
	const char *mode, *rate;
	/* Blocks of the handler in the child come before it has a recording. */
	bool is_handler_unseen;
} forks[] = {
	{"fork", EVERY_BLOCK, false},
	{"allocate", EVERY_BLOCK, true},
	{"stay", EVERY_BLOCK, false},
	{"fork", EVERY_POINT, false},
};

static void assert_child(const char *path, bool is_handler_unseen)
{
	struct heap_profile *profile = heap_profile_read(path, "heap");

	assert_site(profile, "child_allocate", 10, 5, 900);
	if (!is_handler_unseen)
		assert_nothing_lost(profile);
	else if (heap_profile_loss(profile, HEAP_LOSS_ONLY_COUNTED) > 0)
		ck_assert(heap_profile_loss(profile, HEAP_LOSS_ONLY_COUNTED) == 10);
	else
		assert_site(profile, "handler_allocate", 10, 0, 333);
	heap_profile_free(profile);
}

START_TEST(child_of_a_handler_that_interrupted_the_agent_goes_on)
{
	struct victim *victim = run(forks[_i].mode, forks[_i].rate);
	struct victim_files files;
	char parent[PATH_MAX];

	assert_parent(victim);
	heap_profile_path(victim, 0, "heap", parent);
	victim_list(victim->profiles, "*.heap.pb.gz", &files);
	ck_assert_int_eq((int64_t)files.count,
			 victim_number(victim->output, "meetings") + 1);
	for (size_t i = 0; i < files.count; i++)
		if (strcmp(files.paths[i], parent) != 0)
			assert_child(files.paths[i], forks[_i].is_handler_unseen);
	victim_files_free(&files);
	victim_free(victim);
}
END_TEST

/* What was counted is followed, or told to have been left. */
static void assert_left_are_told(const struct heap_profile *profile, int64_t meetings)
{
	double left = heap_profile_loss(profile, "left unfinished by a jump");
	struct heap_account account = heap_profile_account(profile);
	double followed = (double)heap_profile_total(profile).alloc_objects;

	ck_assert(left > 0 && left <= (double)meetings);
	ck_assert_msg(account.allocations - followed >= 0 &&
			      account.allocations - followed <= left,
		      "%.0f allocations, %.0f followed, %.0f left", account.allocations,
		      followed, left);
}

static const struct {
	const char *mode, *rate;
	int stacks; /* that blocks are allocated on afterwards */
} jumps[] = {
	{"jump", EVERY_BLOCK, 1},
	{"coroutine", EVERY_BLOCK, 2},
	{"jump", EVERY_POINT, 1},
};

/* The interrupted block itself may be followed or not, and is never given back. */
START_TEST(jump_out_of_the_agent_costs_no_later_block)
{
	struct victim *victim = run(jumps[_i].mode, jumps[_i].rate);
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	int64_t meetings = victim_number(victim->output, "meetings");
	int64_t done = victim_number(victim->output, "done");
	struct heap_sums sums = heap_profile_with(profile, "steps_allocate");

	assert_site(profile, "after_allocate", 100 * jumps[_i].stacks,
		    50 * jumps[_i].stacks, 555);
	ck_assert_int_ge(sums.alloc_objects, done);
	ck_assert_int_le(sums.alloc_objects, done + meetings);
	assert_nothing_lost(profile);
	assert_left_are_told(profile, meetings);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, child_of_a_handler_that_interrupted_the_agent_goes_on,
			    0, sizeof(forks) / sizeof(forks[0]));
	tcase_add_loop_test(tcase, jump_out_of_the_agent_costs_no_later_block, 0,
			    sizeof(jumps) / sizeof(jumps[0]));
}

int main(void)
{
	return victim_main("heap_steps", add);
}
