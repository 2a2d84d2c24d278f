/*
 * The peak where many threads each have a little in use, every block being sampled: it
 * is the true one to within what the profile says.
 */
#include "heap_profile.h"
#include "victim.h"

static const char *const crowds[] = {"1", "20", "1000"};

START_TEST(peak_of_a_crowd_is_found)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"heap_crowd", crowds[_i], NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
	};
	struct victim *victim = victim_run(&setup);
	struct heap_profile *profile = heap_profile_of(victim, "peak");
	double peak_bytes = (double)victim_number(victim->output, "peak_bytes");
	double early_bytes =
		(double)heap_profile_with(profile, "crowd_early").inuse_bytes;
	double found_bytes =
		(double)(heap_profile_with(profile, "crowd_kept").inuse_bytes +
			 heap_profile_with(profile, "crowd_member").inuse_bytes);

	victim_assert_success(victim);
	victim_assert_clean(victim);
	/* Where the first was as high, it may stay. */
	if (peak_bytes > 1.01 * (100 << 20))
		ck_assert_msg(early_bytes == 0 && found_bytes <= peak_bytes &&
				      found_bytes >= 0.99 * peak_bytes,
			      "%.0f bytes of %.0f, and %.0f of before", found_bytes,
			      peak_bytes, early_bytes);
	else
		ck_assert_msg(early_bytes == 100 << 20, "%.0f bytes of before",
			      early_bytes);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, peak_of_a_crowd_is_found, 0,
			    sizeof(crowds) / sizeof(crowds[0]));
}

int main(void)
{
	return victim_main("heap_crowd", add);
}
