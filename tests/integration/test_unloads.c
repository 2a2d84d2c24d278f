/*
 * Libraries that are unloaded, and others that take their place, while the agent's thread
 * drains without a rest: no frame is ever named after a library that is not the one that
 * ran, and nobody touches what was freed. And the code of one that is gone before long is
 * named: our thread finds a sample of it when it is woken for it.
 */
#include "cpu_profile.h"
#include "profile_decode.h"
#include "victim.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

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

/* The program and the agent's thread take turns. */
static void take_one_processor(void *unused)
{
	cpu_set_t all, one;

	(void)unused;
	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(all), &all) != 0)
		_exit(5);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	if (sched_setaffinity(0, sizeof(one), &one) != 0)
		_exit(5);
}

START_TEST(code_is_named_though_its_library_is_gone_soon)
{
	char library[PATH_MAX], path[PATH_MAX];
	const struct victim_setup setup = {
		.argv = (const char *const[]){"brief_libraries",
					      victim_program_path("lib_unloads.so",
								  library),
					      "100", NULL},
		.before_exec = take_one_processor,
	};
	struct victim *victim = victim_run(&setup);
	struct cpu_profile *profile;
	int64_t work_ns, named_ns;

	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	work_ns = victim_number(victim->output, "work_ns");
	named_ns = cpu_profile_with_ns(profile, "work_in_first");
	printf("%lld of %lld ms in the library named\n", (long long)named_ns / 1000000,
	       (long long)work_ns / 1000000);
	ck_assert_int_gt(named_ns, work_ns / 4 * 3);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, no_frame_is_named_after_another_library);
	tcase_add_test(tcase, code_is_named_though_its_library_is_gone_soon);
}

int main(void)
{
	return victim_main("unloads", add);
}
