/*
 * A handler of the program's that jumps out of the agent's work on a block ends that
 * work for ever. No later block may be the worse for it.
 */
#include "heap_profile.h"
#include "victim.h"

#define BLOCKS 1000

static const char *const rates[] = {"SPANPROF_HEAP_RATE=1", "SPANPROF_HEAP_RATE=64"};

static struct victim *run(const char *rate, bool is_bare)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"heap_jumps", NULL},
		.environment = (const char *const[]){rate, NULL},
		.is_bare = is_bare,
	};

	return victim_run(&setup);
}

START_TEST(jump_out_of_a_sample_costs_no_later_one)
{
	struct victim *bare = run(rates[_i], true);
	struct victim *agent = run(rates[_i], false);
	struct heap_profile *profile = heap_profile_of(agent, "heap");
	struct heap_sums after = heap_profile_with(profile, "jumps_after");

	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	ck_assert(heap_profile_loss(profile, "interrupted the profiler") == 0);
	/* At a rate of 64 all blocks of 777 bytes are samples but one in e to the 12th.
	 */
	ck_assert_int_ge(after.alloc_objects, BLOCKS - (_i ? 2 : 0));
	ck_assert_int_le(after.alloc_objects, BLOCKS);
	ck_assert_int_ge(after.inuse_objects, BLOCKS / 2 - (_i ? 2 : 0));
	ck_assert_int_le(after.inuse_objects, BLOCKS / 2);
	heap_profile_free(profile);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, jump_out_of_a_sample_costs_no_later_one, 0,
			    sizeof(rates) / sizeof(rates[0]));
}

int main(void)
{
	return victim_main("heap_jumps", add);
}
