/*
 * Programs that ask how many threads they have are told of their own. Python is one:
 * it warns of a fork() in a process of several.
 */
#include "victim.h"

#include <string.h>

/* A function may be followed though we stand in front of it. */
static const char *const spans[] = {
	"SPANPROF_SPANS",
	"SPANPROF_SPANS=fopen,fopen64,stat,stat64,lstat,fstatat,__xstat",
};

START_TEST(our_thread_is_none_of_the_program)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"thread_count", NULL},
		.environment = (const char *const[]){spans[_i], NULL},
	};
	struct victim *victim = victim_run_both(&setup);

	ck_assert_ptr_nonnull(victim);
	ck_assert_ptr_nonnull(strstr(victim->output, "\n10 10 10 0 10 "));
	ck_assert_ptr_nonnull(strstr(victim->output, "\n 10 10 10 10 10 10 10 links"));
	ck_assert_ptr_nonnull(strstr(victim->output, "single 1 1, a copy: 1\n"));
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, our_thread_is_none_of_the_program, 0,
			    sizeof(spans) / sizeof(spans[0]));
}

int main(void)
{
	return victim_main("thread_count", add);
}
