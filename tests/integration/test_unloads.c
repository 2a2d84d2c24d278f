/*
 * Libraries that are unloaded, and others that take their place, while the agent's thread
 * drains without a rest: no frame is ever named after a library that is not the one that
 * ran, and nobody touches what was freed.
 */
#include "profile_decode.h"
#include "victim.h"

#include <stdio.h>

/* Of samples of one profile. */
struct tally {
	int64_t named[2]; /* by the library that ran */
	int64_t unnamed;  /* before the library was known */
};

static void add_sample(const struct profile *profile,
		       const Perftools__Profiles__Sample *sample, struct tally *tally)
{
	static const char *const callers[] = {"call_first", "call_second"};
	static const char *const works[] = {"work_in_first", "work_in_second"};

	for (int which = 0; which < 2; which++) {
		if (!profile_sample_has(profile, sample, callers[which]))
			continue;
		ck_assert_msg(!profile_sample_has(profile, sample, works[!which]),
			      "%s below %s", works[!which], callers[which]);
		if (profile_sample_has(profile, sample, works[which]))
			tally->named[which] += sample->value[0];
		else
			tally->unnamed += sample->value[0];
	}
	/* A stack that ends early has no caller, but never two libraries. */
	ck_assert(!profile_sample_has(profile, sample, works[0]) ||
		  !profile_sample_has(profile, sample, works[1]));
}

static void check_profile(const struct victim *victim, const char *pattern,
			  struct tally *tally)
{
	struct victim_files files;
	char error[256] = "";
	struct profile *profile;

	victim_list(victim->profiles, pattern, &files);
	ck_assert_uint_eq(files.count, 1);
	profile = profile_decode_file(files.paths[0], error, sizeof(error));
	ck_assert_msg(profile != NULL, "%s: %s", files.paths[0], error);
	ck_assert_msg(profile_check(profile, error, sizeof(error)), "%s", error);
	for (size_t i = 0; i < profile->message->n_sample; i++)
		add_sample(profile, profile->message->sample[i], tally);
	profile_free(profile);
	victim_files_free(&files);
}

START_TEST(no_frame_is_named_after_another_library)
{
	char first[PATH_MAX], second[PATH_MAX];
	const char *const argv[] = {
		"unloads", victim_program_path("lib_unloads.so", first),
		victim_program_path("lib_unloads_second.so", second), "200", NULL};
	const struct victim_setup setup = {
		.argv = argv,
		.environment = (const char *const[]){"SPANPROF_CPU_HZ=1000",
						     "SPANPROF_HEAP_RATE=1", NULL},
	};
	struct tally cpu = {0}, heap = {0};
	struct victim *victim = victim_run(&setup);

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_int_ge(victim_number(victim->output, "same_places"), 100);
	check_profile(victim, "*.cpu.pb.gz", &cpu);
	check_profile(victim, "*.heap.pb.gz", &heap);
	printf("cpu: %lld and %lld named, %lld not; heap: %lld and %lld named, %lld "
	       "not\n",
	       (long long)cpu.named[0], (long long)cpu.named[1], (long long)cpu.unnamed,
	       (long long)heap.named[0], (long long)heap.named[1],
	       (long long)heap.unnamed);
	/* Both have been known at times: the names that are right are not none. */
	ck_assert_int_gt(cpu.named[0], 0);
	ck_assert_int_gt(cpu.named[1], 0);
	ck_assert_int_gt(heap.named[0], 0);
	ck_assert_int_gt(heap.named[1], 0);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, no_frame_is_named_after_another_library);
}

int main(void)
{
	return victim_main("unloads", add);
}
