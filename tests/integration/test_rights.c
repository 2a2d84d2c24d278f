/*
 * A program that gives up rights has given them up: no thread of its process is left
 * with more than it has, nor does the program end with less than without us.
 */
#include "victim.h"

static const char *const modes[] = {"drop", "switch", "keep", "less"};

START_TEST(no_thread_keeps_what_the_program_gives_up)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"rights", modes[_i], NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	char path[PATH_MAX];

	if (victim == NULL)
		return;
	ck_assert_ptr_null(strstr(victim->output, "another thread"));
	victim_profile(victim, 0, path);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, no_thread_keeps_what_the_program_gives_up, 0,
			    sizeof(modes) / sizeof(modes[0]));
}

int main(void)
{
	return victim_main("rights", add);
}
