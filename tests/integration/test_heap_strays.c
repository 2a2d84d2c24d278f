/*
 * More threads than a small recording has room for: those without a place of their own
 * are counted and sampled as others, the profile says how far off its estimate may be,
 * and what they needed is used again when they are gone.
 */
#include "heap_profile.h"
#include "victim.h"

#include <math.h>

static const char *const rates[] = {"SPANPROF_HEAP_RATE=524288", "SPANPROF_HEAP_RATE=1"};

START_TEST(threads_without_a_place_are_followed)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"heap_strays", "400", NULL},
		.environment = (const char *const[]){rates[_i],
						     "SPANPROF_RECORDING_SIZE=1M", NULL},
		.timeout_s = 120,
	};
	struct victim *victim = victim_run(&setup);
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	struct heap_account account = heap_profile_account(profile);
	double told_bytes = (double)victim_number(victim->output, "allocated_bytes");

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_msg(account.bytes >= told_bytes && account.bytes < 1.001 * told_bytes,
		      "%.0f bytes counted, %.0f told", account.bytes, told_bytes);
	if (_i == 1)
		ck_assert(account.estimate_bytes == account.bytes);
	else
		ck_assert_msg(account.standard_error_bytes > 0 &&
				      fabs(account.estimate_bytes - account.bytes) <=
					      5 * account.standard_error_bytes,
			      "estimate %.0f, exact %.0f, standard error %.0f",
			      account.estimate_bytes, account.bytes,
			      account.standard_error_bytes);
	ck_assert_int_eq(victim_number(victim->output, "reused"), 1);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, threads_without_a_place_are_followed, 0,
			    sizeof(rates) / sizeof(rates[0]));
}

int main(void)
{
	return victim_main("heap_strays", add);
}
