/*
 * How the loader takes the agent: not by dlopen(), as what comes late stands in front of
 * nothing.
 */
#include "victim.h"

#include <string.h>

START_TEST(late_opening_is_refused)
{
	struct victim *victim = victim_run_bare("opener", victim_agent_path());

	victim_assert_success(victim);
	ck_assert_ptr_nonnull(strstr(victim->output, "cannot be dlopen()ed"));
	victim_free(victim);
}
END_TEST

START_TEST(preloaded_agent_can_be_opened_again)
{
	struct victim *victim = victim_run_agent("opener", victim_agent_path());

	victim_assert_success(victim);
	ck_assert_str_eq(victim->output, "opened\n");
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, late_opening_is_refused);
	tcase_add_test(tcase, preloaded_agent_can_be_opened_again);
}

int main(void)
{
	return victim_main("loading", add);
}
