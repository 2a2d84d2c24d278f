/*
 * Programs that ask how many threads they have are told of their own. Python is one:
 * it warns of a fork() in a process of several.
 */
#include "victim.h"

#include <string.h>

START_TEST(our_thread_is_none_of_the_program)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"thread_count", NULL},
	};
	struct victim *victim = victim_run_both(&setup);

	ck_assert_ptr_nonnull(victim);
	ck_assert_ptr_nonnull(strstr(victim->output, "\n10 10 10 0 10 "));
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, our_thread_is_none_of_the_program);
}

int main(void)
{
	return victim_main("thread_count", add);
}
