/* The options: what the environment says and what it means. */
#include "sp_options_table.h"
#include "test_options_fixture.h"

START_TEST(nothing_set_profiles_everything_there_is)
{
	assert_accepted("HOME=/root");
	ck_assert(!options.is_disabled);
	ck_assert(options.is_cpu_enabled);
	ck_assert_uint_eq(options.cpu_hz, 99);
	ck_assert(options.is_heap_enabled);
	ck_assert_uint_eq(options.heap_rate_bytes, 512 << 10);
	ck_assert_uint_eq(options.heap_seed, 0);
	ck_assert(!options.wants_leaks);
	ck_assert_uint_eq(options.allocator, SP_ALLOCATOR_SYSTEM);
	ck_assert_str_eq(options.spans, "");
	ck_assert_str_eq(options.span_sources, "");
	ck_assert_uint_eq(options.span_cpu, SP_SPAN_CPU_EXACT);
	ck_assert_str_eq(options.span_labels, "");
	ck_assert_uint_eq(options.span_probability_millionths, 1000000);
	ck_assert_uint_eq(options.held_spans_max, 1000);
	ck_assert_uint_eq(options.track_cpu, SP_SWITCH_YES);
	ck_assert_uint_eq(options.track_wall, SP_SWITCH_YES);
	ck_assert_uint_eq(options.track_allocations, SP_SWITCH_YES);
	ck_assert_uint_eq(options.track_heap, SP_SWITCH_YES);
	ck_assert_str_eq(options.reporters, "");
	ck_assert_uint_eq(options.samples_max, 1000);
	ck_assert_uint_eq(options.heap_snapshot_interval_ns, UINT64_C(10000000000));
	ck_assert(options.aggregates_samples);
	ck_assert_uint_eq(options.depth_frames_max, 512);
	ck_assert_uint_eq(options.unwinder, SP_UNWINDER_TABLES);
	ck_assert_str_eq(options.out_dir, ".");
	ck_assert_str_eq(options.file_pattern, "%e.%p");
	ck_assert_str_eq(options.recording_dir, "");
	ck_assert_uint_eq(options.recording_bytes_max, UINT64_C(64) << 20);
	ck_assert_int_eq(options.signal_number, 0);
	ck_assert(!options.is_quiet);
	ck_assert(!options.is_verbose);
}
END_TEST

START_TEST(each_default_in_the_table_is_what_no_option_gives)
{
	const struct sp_option_help *help;
	struct sp_options defaults;
	char variable[256];

	assert_accepted("HOME=/root");
	defaults = options;
	for (size_t i = 0; (help = sp_options_help(i)) != NULL; i++) {
		setup_defaults();
		snprintf(variable, sizeof(variable), "%s=%s", help->environment,
			 help->default_text);
		assert_accepted(variable);
		ck_assert_mem_eq(&options, &defaults, sizeof(options));
		snprintf(variable, sizeof(variable), "SPANPROF=cpu,heap,%s=%s",
			 help->compact, help->default_text);
		assert_accepted(variable);
		ck_assert_uint_eq(sp_options_hash(&options), sp_options_hash(&defaults));
	}
}
END_TEST

/* "cpu" for "cpu:hz", "spans" for "span:cpu". */
static bool is_group(const char *option, const char *member, size_t group_bytes)
{
	return strncmp(option, member, group_bytes) == 0 &&
	       (option[group_bytes] == '\0' || strcmp(option + group_bytes, "s") == 0);
}

START_TEST(each_option_in_the_table_is_complete)
{
	const struct sp_option *option, *profile;
	size_t i, j;

	for (i = 0; (option = sp_options_entry(i)) != NULL; i++) {
		const struct sp_option_help *help = &option->help;
		size_t profile_bytes = strcspn(help->compact, ":");

		ck_assert_int_eq(strncmp(help->environment, "SPANPROF_", 9), 0);
		ck_assert_uint_gt(strlen(help->meaning), 10);
		ck_assert_uint_le(option->offset_bytes + option->size_bytes,
				  sizeof(options));
		ck_assert_uint_le(strlen(help->compact), 30);
		for (j = 0; j < i; j++) {
			ck_assert_str_ne(sp_options_help(j)->compact, help->compact);
			ck_assert_str_ne(sp_options_help(j)->environment,
					 help->environment);
		}
		if (help->compact[profile_bytes] != ':')
			continue;
		for (j = 0; (profile = sp_options_entry(j)) != NULL; j++) {
			if ((profile->kind == SP_OPTION_PROFILE ||
			     profile->kind == SP_OPTION_LIST) &&
			    is_group(profile->help.compact, help->compact, profile_bytes))
				break;
		}
		ck_assert_msg(profile != NULL, "%s belongs to no profile", help->compact);
	}
	ck_assert_uint_le(i, 64); /* SEEN_OPTIONS_MAX */
	ck_assert_ptr_null(sp_options_help(i));
}
END_TEST

struct effect {
	const char *compact;	 /* after "SPANPROF=" */
	const char *environment; /* the same as a single variable */
	size_t offset_bytes;
	uint64_t number;
	const char *text; /* instead of number */
};

#define AT(member) offsetof(struct sp_options, member)
static const struct effect effects[] = {
	{"cpu=no", "SPANPROF_CPU=no", AT(is_cpu_enabled), 0, NULL},
	{"heap,cpu:hz=1", "SPANPROF_CPU_HZ=1", AT(cpu_hz), 1, NULL},
	{"heap,cpu:hz=10000", "SPANPROF_CPU_HZ=10000", AT(cpu_hz), 10000, NULL},
	{"heap=no", "SPANPROF_HEAP=no", AT(is_heap_enabled), 0, NULL},
	{"heap:rate=2K,cpu", "SPANPROF_HEAP_RATE=2048", AT(heap_rate_bytes), 2048, NULL},
	{"heap:rate=1G,cpu", "SPANPROF_HEAP_RATE=1073741824", AT(heap_rate_bytes),
	 1 << 30, NULL},
	{"heap:seed=7,cpu", "SPANPROF_HEAP_SEED=7", AT(heap_seed), 7, NULL},
	{"span:seed=8", "SPANPROF_SPAN_SEED=8", AT(span_seed), 8, NULL},
	{"leaks", "SPANPROF_LEAKS=yes", AT(wants_leaks), 1, NULL},
	{"allocator=jemalloc", "SPANPROF_ALLOCATOR=jemalloc", AT(allocator),
	 SP_ALLOCATOR_JEMALLOC, NULL},
	{"spans=id\\,PQ*", "SPANPROF_SPANS= id , PQ*,", AT(spans), 0, "id,PQ*"},
	{"sources=-api", "SPANPROF_SOURCES=-api", AT(span_sources), 0, "-api"},
	{"span:cpu=off", "SPANPROF_SPAN_CPU=off", AT(span_cpu), SP_SPAN_CPU_OFF, NULL},
	{"record_labels=user\\,tenant", "SPANPROF_RECORD_LABELS=user,tenant",
	 AT(span_labels), 0, "user,tenant"},
	{"record-labels=user", "SPANPROF_RECORD_LABELS=user", AT(span_labels), 0, "user"},
	{"span:sampler=0.25", "SPANPROF_SPAN_SAMPLER=.25",
	 AT(span_probability_millionths), 250000, NULL},
	{"track_all=no", "SPANPROF_TRACK_ALL=no", AT(track_wall), SP_SWITCH_NO, NULL},
	{"track_all=no", "SPANPROF_TRACK_ALL=off", AT(track_heap), SP_SWITCH_NO, NULL},
	{"track_cpu=no", "SPANPROF_TRACK_CPU=no", AT(track_cpu), SP_SWITCH_NO, NULL},
	{"track_wall=no", "SPANPROF_TRACK_WALL=no", AT(track_wall), SP_SWITCH_NO, NULL},
	{"track_heap=no", "SPANPROF_TRACK_HEAP=no", AT(track_heap), SP_SWITCH_NO, NULL},
	{"max_closed_heap_spans=0", "SPANPROF_MAX_CLOSED_HEAP_SPANS=0",
	 AT(held_spans_max), 0, NULL},
	{"reporter=pyroscope\\,pprof", "SPANPROF_REPORTER=pyroscope,pprof", AT(reporters),
	 0, "pyroscope,pprof"},
	{"max_samples=1", "SPANPROF_MAX_SAMPLES=1", AT(samples_max), 1, NULL},
	{"heap_snapshot_interval=250ms", "SPANPROF_HEAP_SNAPSHOT_INTERVAL=250ms",
	 AT(heap_snapshot_interval_ns), 250000000, NULL},
	{"aggregate_samples=no", "SPANPROF_AGGREGATE_SAMPLES=no", AT(aggregates_samples),
	 0, NULL},
	{"depth=1024", "SPANPROF_DEPTH=1024", AT(depth_frames_max), 1024, NULL},
	{"unwinder=libunwind", "SPANPROF_UNWINDER=libunwind", AT(unwinder),
	 SP_UNWINDER_LIBUNWIND, NULL},
	{"out=/var/tmp", "SPANPROF_OUT=/var/tmp", AT(out_dir), 0, "/var/tmp"},
	{"file=%h-%e-%p-%t-100%%", "SPANPROF_FILE=%h-%e-%p-%t-100%%", AT(file_pattern), 0,
	 "%h-%e-%p-%t-100%%"},
	{"recording-dir=/dev/shm", "SPANPROF_RECORDING_DIR=/dev/shm", AT(recording_dir),
	 0, "/dev/shm"},
	{"signal=34", "SPANPROF_SIGNAL=34", AT(signal_number), 34, NULL},
	{"signal=64", "SPANPROF_SIGNAL=64", AT(signal_number), 64, NULL},
	{"quiet", "SPANPROF_QUIET=1", AT(is_quiet), 1, NULL},
	{"verbose=yes", "SPANPROF_VERBOSE=TRUE", AT(is_verbose), 1, NULL},
	{"off", "SPANPROF_DISABLE=on", AT(is_disabled), 1, NULL},
};

static void assert_effect(const struct effect *effect)
{
	const char *member = (const char *)&options + effect->offset_bytes;
	bool is_one_byte = effect->offset_bytes == AT(is_cpu_enabled) ||
			   effect->offset_bytes == AT(is_heap_enabled) ||
			   effect->offset_bytes == AT(wants_leaks) ||
			   effect->offset_bytes == AT(aggregates_samples) ||
			   effect->offset_bytes == AT(is_quiet) ||
			   effect->offset_bytes == AT(is_verbose) ||
			   effect->offset_bytes == AT(is_disabled);
	uint32_t number = 0;

	if (effect->text != NULL) {
		ck_assert_str_eq(member, effect->text);
		return;
	}
	memcpy(&number, member, is_one_byte ? 1 : sizeof(number));
	ck_assert_uint_eq(number, effect->number);
}

START_TEST(what_is_tracked_is_all_or_what_is_named)
{
	setup_defaults();
	assert_accepted("SPANPROF=track_cpu,track_all=no");
	ck_assert_uint_eq(options.track_cpu, SP_SWITCH_YES);
	ck_assert_uint_eq(options.track_wall, SP_SWITCH_NO);
	ck_assert_uint_eq(options.track_allocations, SP_SWITCH_NO);
	ck_assert_uint_eq(options.track_heap, SP_SWITCH_NO);
	setup_defaults();
	assert_accepted("SPANPROF=track_allocations=no,track_heap=no");
	ck_assert_uint_eq(options.track_cpu, SP_SWITCH_YES);
	ck_assert_uint_eq(options.track_allocations, SP_SWITCH_NO);
	/* Memory in use is of allocations. */
	setup_defaults();
	assert_accepted("SPANPROF=track_all=no,track_heap");
	ck_assert_uint_eq(options.track_allocations, SP_SWITCH_YES);
	ck_assert_uint_eq(options.track_cpu, SP_SWITCH_NO);
}
END_TEST

START_TEST(an_option_works_in_both_notations)
{
	const struct effect *effect = &effects[_i];
	struct sp_options defaults = options;
	uint64_t hash;
	char variable[256];

	snprintf(variable, sizeof(variable), "SPANPROF=%s", effect->compact);
	assert_accepted(variable);
	assert_effect(effect);
	hash = sp_options_hash(&options);
	ck_assert_uint_ne(hash, sp_options_hash(&defaults));

	setup_defaults();
	assert_accepted(effect->environment);
	assert_effect(effect);
	ck_assert_uint_eq(sp_options_hash(&options), hash);
}
END_TEST

START_TEST(sizes_take_suffixes)
{
	assert_accepted("SPANPROF_RECORDING_SIZE=1048576");
	ck_assert_uint_eq(options.recording_bytes_max, 1 << 20);
	assert_accepted("SPANPROF_RECORDING_SIZE=2048K");
	ck_assert_uint_eq(options.recording_bytes_max, 2 << 20);
	assert_accepted("SPANPROF=recording-size=7m");
	ck_assert_uint_eq(options.recording_bytes_max, 7 << 20);
	assert_accepted("SPANPROF_RECORDING_SIZE=4G");
	ck_assert_uint_eq(options.recording_bytes_max, UINT64_C(4) << 30);
}
END_TEST

START_TEST(a_dense_heap_profile_gets_a_larger_recording)
{
	assert_accepted("SPANPROF=cpu:hz=199,heap:rate=1,out=DIR");
	ck_assert(options.is_cpu_enabled && options.is_heap_enabled);
	ck_assert_uint_eq(options.cpu_hz, 199);
	ck_assert_uint_eq(options.heap_rate_bytes, 1);
	ck_assert_str_eq(options.out_dir, "DIR");
	ck_assert_uint_eq(options.recording_bytes_max, 1 << 30);

	setup_defaults();
	assert_accepted("SPANPROF_HEAP_RATE=1K");
	ck_assert_uint_eq(options.recording_bytes_max, 1 << 30);
	setup_defaults();
	assert_accepted("SPANPROF_HEAP_RATE=1025");
	ck_assert_uint_eq(options.recording_bytes_max, 64 << 20);
	setup_defaults();
	assert_accepted("SPANPROF=heap:rate=1,recording-size=64M");
	ck_assert_uint_eq(options.recording_bytes_max, 64 << 20);
	setup_defaults();
	ck_assert_int_eq(parse("SPANPROF=cpu", "SPANPROF_HEAP_RATE=1", NULL), 0);
	ck_assert_uint_eq(options.recording_bytes_max, 64 << 20);
}
END_TEST

START_TEST(naming_spans_leaves_the_profiles)
{
	assert_accepted("SPANPROF=spans=sqlite3_step,span:cpu=off");
	ck_assert(options.is_cpu_enabled && options.is_heap_enabled);
}
END_TEST

START_TEST(lists_are_searched_by_item)
{
	char list[64];

	ck_assert_int_eq(sp_options_list_make(",, a b , id,PQ*,id ,", list, sizeof(list)),
			 0);
	ck_assert_str_eq(list, "a b,id,PQ*,id");
	ck_assert(sp_options_list_has(list, "id"));
	ck_assert(sp_options_list_has(list, "a b"));
	ck_assert(!sp_options_list_has(list, "PQ"));
	ck_assert(!sp_options_list_has(list, ""));
	sp_options_list_remove(list, "id");
	ck_assert_str_eq(list, "a b,PQ*");
	sp_options_list_remove(list, "a b");
	ck_assert_str_eq(list, "PQ*");
	sp_options_list_remove(list, "PQ*");
	ck_assert_str_eq(list, "");
	ck_assert(!sp_options_list_has(list, ""));
	ck_assert_int_eq(sp_options_list_make("abc,def", list, 8), 0);
	ck_assert_str_eq(list, "abc,def");
	ck_assert_int_eq(sp_options_list_make("abc,def", list, 7), -ERANGE);
	ck_assert_str_eq(list, "");
}
END_TEST

START_TEST(a_seed_has_64_bits)
{
	assert_accepted("SPANPROF_HEAP_SEED=18446744073709551615");
	ck_assert_uint_eq(options.heap_seed, UINT64_MAX);
	assert_refused("SPANPROF_HEAP_SEED=18446744073709551616",
		       "SPANPROF_HEAP_SEED: \"18446744073709551616\" is not from 0 to "
		       "18446744073709551615 (the nearest is 18446744073709551615); the "
		       "program runs unprofiled");
}
END_TEST

START_TEST(auto_means_the_agent_chooses)
{
	assert_accepted(
		"SPANPROF=signal=40,signal=auto,recording-dir=/x,recording-dir=auto");
	ck_assert_int_eq(options.signal_number, 0);
	ck_assert_str_eq(options.recording_dir, "");
	assert_accepted("SPANPROF_OUT=auto"); /* has none: a directory of that name */
	ck_assert_str_eq(options.out_dir, "auto");
}
END_TEST

START_TEST(the_compact_string_takes_many)
{
	assert_accepted("SPANPROF=cpu:hz=199,depth=64, out=/a b/c=d ,,quiet,");
	ck_assert(options.is_cpu_enabled);
	ck_assert_uint_eq(options.cpu_hz, 199);
	ck_assert_uint_eq(options.depth_frames_max, 64);
	ck_assert_str_eq(options.out_dir, "/a b/c=d ");
	ck_assert(options.is_quiet);
}
END_TEST

START_TEST(in_the_compact_string_the_last_of_two_counts)
{
	assert_accepted("SPANPROF=depth=5,depth=6");
	ck_assert_uint_eq(options.depth_frames_max, 6);
}
END_TEST

START_TEST(a_backslash_keeps_a_comma_in_a_value)
{
	assert_accepted("SPANPROF=out=/a\\,b\\\\c\\=,depth=7");
	ck_assert_str_eq(options.out_dir, "/a,b\\c=");
	ck_assert_uint_eq(options.depth_frames_max, 7);
}
END_TEST

START_TEST(a_single_variable_is_taken_as_it_is)
{
	assert_accepted("SPANPROF_OUT=/a,b\\,c\\");
	ck_assert_str_eq(options.out_dir, "/a,b\\,c\\");
}
END_TEST

START_TEST(single_variables_win_over_the_compact_string)
{
	ck_assert_int_eq(parse("SPANPROF_DEPTH=7", "SPANPROF=depth=9,cpu:hz=50",
			       "SPANPROF_CPU=no"),
			 0);
	ck_assert_uint_eq(options.depth_frames_max, 7);
	ck_assert_uint_eq(options.cpu_hz, 50);
	ck_assert(!options.is_cpu_enabled);
}
END_TEST

START_TEST(of_two_variables_of_one_name_the_first_counts)
{
	ck_assert_int_eq(parse("SPANPROF_DEPTH=7", "SPANPROF_DEPTH=8", NULL), 0);
	ck_assert_uint_eq(options.depth_frames_max, 7);
	ck_assert_int_eq(parse("SPANPROF=depth=9", "SPANPROF=depth=10", NULL), 0);
	ck_assert_uint_eq(options.depth_frames_max, 9);
}
END_TEST

START_TEST(an_empty_variable_counts_as_not_set)
{
	ck_assert_int_eq(parse("SPANPROF=", "SPANPROF_OUT=", "SPANPROF_DISABLE="), 0);
	ck_assert_str_eq(options.out_dir, ".");
	ck_assert(!options.is_disabled);
}
END_TEST

START_TEST(a_variable_that_only_looks_alike_is_not_ours)
{
	ck_assert_int_eq(parse("SPANPROFILER=x", "XSPANPROF_HZ=1", "SPANPROF"), 0);
}
END_TEST

START_TEST(naming_a_profile_selects_it)
{
	options.is_cpu_enabled = false;
	assert_accepted("SPANPROF=cpu");
	ck_assert(options.is_cpu_enabled);
	options.is_cpu_enabled = false;
	assert_accepted("SPANPROF=cpu:hz=50");
	ck_assert(options.is_cpu_enabled);
	ck_assert(!options.is_heap_enabled);
	options.is_cpu_enabled = false;
	assert_accepted("SPANPROF=depth=5");
	ck_assert(!options.is_cpu_enabled);
}
END_TEST

START_TEST(off_ends_it_all)
{
	assert_accepted("SPANPROF=cpu,off");
	ck_assert(options.is_disabled);
	ck_assert(!options.is_cpu_enabled);
}
END_TEST

START_TEST(off_is_silent_even_if_the_rest_is_wrong)
{
	ck_assert_int_eq(parse("SPANPROF=hzz=1,depth=x", "SPANPROF_NONSENSE=1",
			       "SPANPROF_DISABLE=1"),
			 0);
	ck_assert(options.is_disabled);
	ck_assert(!options.is_cpu_enabled);
	setup_defaults();
	assert_accepted("SPANPROF=off=yes");
	setup_defaults();
	ck_assert_int_eq(parse("SPANPROF=hzz,off", NULL, NULL), 0);
	ck_assert(options.is_disabled);
}
END_TEST

START_TEST(off_in_the_string_can_be_taken_back_by_the_variable)
{
	ck_assert_int_eq(parse("SPANPROF=off", "SPANPROF_DISABLE=0", NULL), 0);
	ck_assert(!options.is_disabled);
	ck_assert(options.is_cpu_enabled);
}
END_TEST

START_TEST(what_lies_behind_a_string_does_not_change_the_hash)
{
	struct sp_options other = options;

	other.out_dir[100] = 'x';
	ck_assert_uint_eq(sp_options_hash(&options), sp_options_hash(&other));
	other.out_dir[0] = 'x';
	ck_assert_uint_ne(sp_options_hash(&options), sp_options_hash(&other));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tcase = tcase_create("reading");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup_defaults, NULL);
	tcase_add_test(tcase, nothing_set_profiles_everything_there_is);
	tcase_add_test(tcase, each_default_in_the_table_is_what_no_option_gives);
	tcase_add_test(tcase, each_option_in_the_table_is_complete);
	tcase_add_loop_test(tcase, an_option_works_in_both_notations, 0,
			    SP_ARRAY_COUNT(effects));
	tcase_add_test(tcase, what_is_tracked_is_all_or_what_is_named);
	tcase_add_test(tcase, sizes_take_suffixes);
	tcase_add_test(tcase, a_dense_heap_profile_gets_a_larger_recording);
	tcase_add_test(tcase, naming_spans_leaves_the_profiles);
	tcase_add_test(tcase, lists_are_searched_by_item);
	tcase_add_test(tcase, a_seed_has_64_bits);
	tcase_add_test(tcase, auto_means_the_agent_chooses);
	tcase_add_test(tcase, the_compact_string_takes_many);
	tcase_add_test(tcase, in_the_compact_string_the_last_of_two_counts);
	tcase_add_test(tcase, a_backslash_keeps_a_comma_in_a_value);
	tcase_add_test(tcase, a_single_variable_is_taken_as_it_is);
	tcase_add_test(tcase, single_variables_win_over_the_compact_string);
	tcase_add_test(tcase, of_two_variables_of_one_name_the_first_counts);
	tcase_add_test(tcase, an_empty_variable_counts_as_not_set);
	tcase_add_test(tcase, a_variable_that_only_looks_alike_is_not_ours);
	tcase_add_test(tcase, naming_a_profile_selects_it);
	tcase_add_test(tcase, off_ends_it_all);
	tcase_add_test(tcase, off_is_silent_even_if_the_rest_is_wrong);
	tcase_add_test(tcase, off_in_the_string_can_be_taken_back_by_the_variable);
	tcase_add_test(tcase, what_lies_behind_a_string_does_not_change_the_hash);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
