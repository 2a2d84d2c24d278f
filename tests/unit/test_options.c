/* The options: what the environment says, what it means, what is told if it is wrong. */
#include "sp_compiler.h"
#include "sp_options.h"
#include "sp_options_table.h"
#include "sp_options_value.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct sp_options options;
static char error[512];

static void setup_defaults(void)
{
	memset(&options, 0xa5, sizeof(options)); /* nothing may be left as it was */
	sp_options_init(&options);
	strcpy(error, "untouched");
}

static int parse(const char *one, const char *two, const char *three)
{
	char *environment[] = {(char *)"PATH=/bin", (char *)one, (char *)two,
			       (char *)three, NULL};

	return sp_options_parse(&options, environment, error, sizeof(error));
}

static void assert_accepted(const char *variable)
{
	int err = parse(variable, NULL, NULL);

	ck_assert_msg(err == 0, "%s was refused: %s", variable, error);
	ck_assert_str_eq(error, "untouched");
}

static void assert_refused(const char *variable, const char *message)
{
	struct sp_options before = options;

	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_str_eq(error, message);
	ck_assert_mem_eq(&options, &before, sizeof(options));
}

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
			if (profile->kind == SP_OPTION_PROFILE &&
			    strlen(profile->help.compact) == profile_bytes &&
			    memcmp(profile->help.compact, help->compact, profile_bytes) ==
				    0)
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
	{"leaks", "SPANPROF_LEAKS=yes", AT(wants_leaks), 1, NULL},
	{"allocator=jemalloc", "SPANPROF_ALLOCATOR=jemalloc", AT(allocator),
	 SP_ALLOCATOR_JEMALLOC, NULL},
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

#define UNPROFILED "; the program runs unprofiled"
static const char *const refusals[][2] = {
	{"SPANPROF=hzz", "unknown option \"hzz\" in SPANPROF (did you mean \"cpu:hz\"?)"},
	{"SPANPROF=cpu:hzz=9",
	 "unknown option \"cpu:hzz\" in SPANPROF (did you mean \"cpu:hz\"?)"},
	{"SPANPROF=cpi", "unknown option \"cpi\" in SPANPROF (did you mean \"cpu\"?)"},
	{"SPANPROF=otu=/tmp",
	 "unknown option \"otu\" in SPANPROF (did you mean \"out\"?)"},
	{"SPANPROF=recording_size=1M", "unknown option \"recording_size\" in SPANPROF "
				       "(did you mean \"recording-size\"?)"},
	{"SPANPROF=Cpu", "unknown option \"Cpu\" in SPANPROF (did you mean \"cpu\"?)"},
	{"SPANPROF=cpu ,quiet",
	 "unknown option \"cpu \" in SPANPROF (did you mean \"cpu\"?)"},
	{"SPANPROF=cpu,hepa:rate=1",
	 "unknown option \"hepa:rate\" in SPANPROF (did you mean \"heap:rate\"?)"},
	{"SPANPROF=cpi:hz=9",
	 "unknown option \"cpi:hz\" in SPANPROF (did you mean \"cpu:hz\"?)"},
	{"SPANPROF=heep", "unknown option \"heep\" in SPANPROF (did you mean \"heap\"?)"},
	{"SPANPROF==3", "unknown option \"\" in SPANPROF (did you mean \"cpu\"?)"},
	{"SPANPROF_HZ=99",
	 "unknown variable SPANPROF_HZ (did you mean SPANPROF_CPU_HZ?)"},
	{"SPANPROF_CPU_HERTZ=99",
	 "unknown variable SPANPROF_CPU_HERTZ (did you mean SPANPROF_CPU_HZ?)"},
	{"SPANPROF_XYZ=", "unknown variable SPANPROF_XYZ (did you mean SPANPROF_CPU?)"},
	{"SPANPROF_=1", "unknown variable SPANPROF_ (did you mean SPANPROF_CPU?)"},
	{"SPANPROF_cpu=1", "unknown variable SPANPROF_cpu (did you mean SPANPROF_CPU?)"},
	{"SPANPROF=depth", "depth in SPANPROF needs a value, as in depth=512"},
	{"SPANPROF=out=", "out in SPANPROF needs a value, as in out=."},
	{"SPANPROF=quiet=", "quiet in SPANPROF needs a value, as in quiet=no"},
	{"SPANPROF=quiet=maybe", "quiet in SPANPROF: \"maybe\" is neither yes nor no"},
	{"SPANPROF_DISABLE=2", "SPANPROF_DISABLE: \"2\" is neither yes nor no"},
	{"SPANPROF=cpu=2", "cpu in SPANPROF: \"2\" is neither yes nor no"},
	{"SPANPROF_CPU_HZ=0",
	 "SPANPROF_CPU_HZ: \"0\" is not from 1 to 10000 (the nearest is 1)"},
	{"SPANPROF_CPU_HZ=10001",
	 "SPANPROF_CPU_HZ: \"10001\" is not from 1 to 10000 (the nearest is 10000)"},
	{"SPANPROF=cpu:hz=18446744073709551715",
	 "cpu:hz in SPANPROF: \"18446744073709551715\" is not from 1 to 10000 (the "
	 "nearest "
	 "is 10000)"},
	{"SPANPROF_CPU_HZ=-1", "SPANPROF_CPU_HZ: \"-1\" is not a number from 1 to 10000"},
	{"SPANPROF_CPU_HZ= 9", "SPANPROF_CPU_HZ: \" 9\" is not a number from 1 to 10000"},
	{"SPANPROF_CPU_HZ=99x",
	 "SPANPROF_CPU_HZ: \"99x\" is not a number from 1 to 10000"},
	{"SPANPROF_CPU_HZ=1K", "SPANPROF_CPU_HZ: \"1K\" is not a number from 1 to 10000"},
	{"SPANPROF_DEPTH=1025",
	 "SPANPROF_DEPTH: \"1025\" is not from 1 to 1024 (the nearest is 1024)"},
	{"SPANPROF_RECORDING_SIZE=1023K", "SPANPROF_RECORDING_SIZE: \"1023K\" is not "
					  "from 1M to 4G or auto (the nearest is 1M)"},
	{"SPANPROF_RECORDING_SIZE=99999999999G",
	 "SPANPROF_RECORDING_SIZE: \"99999999999G\" is not from 1M to 4G or auto (the "
	 "nearest is "
	 "4G)"},
	{"SPANPROF_RECORDING_SIZE=64MB", "SPANPROF_RECORDING_SIZE: \"64MB\" is not a "
					 "size in bytes, such as 64M, from 1M to "
					 "4G or auto"},
	{"SPANPROF_SIGNAL=27",
	 "SPANPROF_SIGNAL: \"27\" is not from 34 to 64 or auto (the nearest is 34)"},
	{"SPANPROF_SIGNAL=SIGPROF",
	 "SPANPROF_SIGNAL: \"SIGPROF\" is not a number from 34 to 64 or auto"},
	{"SPANPROF_UNWINDER=libunwid",
	 "SPANPROF_UNWINDER: \"libunwid\" is unknown (did you mean \"libunwind\"?)"},
	{"SPANPROF=unwinder=table",
	 "unwinder in SPANPROF: \"table\" is unknown (did you mean \"tables\"?)"},
	{"SPANPROF_FILE=a/b", "SPANPROF_FILE: \"a/b\" must not contain a slash (the "
			      "directory is SPANPROF_OUT)"},
	{"SPANPROF=file=/b",
	 "file in SPANPROF: \"/b\" must not contain a slash (the directory is out=DIR)"},
	{"SPANPROF_FILE=%x",
	 "SPANPROF_FILE: \"%x\" has a % that is not one of %e %p %t %h %%"},
	{"SPANPROF_FILE=%e.%",
	 "SPANPROF_FILE: \"%e.%\" has a % that is not one of %e %p %t %h %%"},
	{"SPANPROF=out=/a\\",
	 "out in SPANPROF: \"/a\" is longer than 4095 bytes or ends in a lone backslash"},
};

START_TEST(a_mistake_is_named_with_the_nearest_right_one)
{
	char message[512];

	snprintf(message, sizeof(message), "%s" UNPROFILED, refusals[_i][1]);
	assert_refused(refusals[_i][0], message);
}
END_TEST

START_TEST(the_first_mistake_is_told)
{
	ck_assert_int_eq(parse("SPANPROF=depth=0,hzz=1", "SPANPROF_BAD=1", NULL),
			 -EINVAL);
	ck_assert_str_eq(error,
			 "depth in SPANPROF: \"0\" is not from 1 to 1024 (the nearest "
			 "is 1)" UNPROFILED);
}
END_TEST

static char *long_variable(const char *start, size_t value_bytes)
{
	char *variable = malloc(strlen(start) + value_bytes + 1);

	ck_assert_ptr_nonnull(variable);
	strcpy(variable, start);
	memset(variable + strlen(start), 'x', value_bytes);
	variable[strlen(start) + value_bytes] = '\0';
	return variable;
}

START_TEST(a_path_may_be_as_long_as_the_kernel_takes)
{
	static const char *const starts[] = {
		"SPANPROF_OUT=", "SPANPROF=out=", "SPANPROF_RECORDING_DIR=",
		"SPANPROF=recording-dir="};
	char *variable;

	variable = long_variable(starts[_i], PATH_MAX - 1);
	assert_accepted(variable);
	ck_assert_uint_eq(strlen(_i < 2 ? options.out_dir : options.recording_dir),
			  PATH_MAX - 1);
	free(variable);

	variable = long_variable(starts[_i], PATH_MAX);
	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, _i % 2 == 0
						    ? "is too long: 4096 bytes, at most "
						      "4095"
						    : "is longer than 4095 bytes"));
	free(variable);
}
END_TEST

START_TEST(a_file_pattern_that_is_too_long_is_refused)
{
	char *variable = long_variable("SPANPROF_FILE=", NAME_MAX - 1);

	assert_accepted(variable);
	free(variable);
	variable = long_variable("SPANPROF_FILE=", NAME_MAX);
	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "is too long: 255 bytes, at most 254"));
	free(variable);
}
END_TEST

START_TEST(a_huge_mistake_gives_a_short_line)
{
	char *variable = long_variable("SPANPROF=", 100000);

	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_uint_lt(strlen(error), 200);
	ck_assert_ptr_nonnull(strstr(error, UNPROFILED));
	free(variable);
	variable = long_variable("SPANPROF_", 100000);
	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_uint_lt(strlen(error), 200);
	free(variable);
}
END_TEST

START_TEST(an_error_buffer_of_any_size_is_kept_within)
{
	char *environment[] = {(char *)"SPANPROF=hzz", NULL};
	char small[16];

	for (size_t size_bytes = 0; size_bytes <= 8; size_bytes++) {
		memset(small, '#', sizeof(small));
		ck_assert_int_eq(
			sp_options_parse(&options, environment, small, size_bytes),
			-EINVAL);
		ck_assert_int_eq(small[size_bytes], '#');
		if (size_bytes > 0)
			ck_assert_uint_eq(strlen(small), size_bytes - 1);
	}
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

START_TEST(durations_take_units)
{
	static const struct {
		const char *text;
		uint64_t duration_ns;
	} durations[] = {
		{"3", UINT64_C(3000000000)},
		{"250ms", 250000000},
		{"7us", 7000},
		{"9ns", 9},
		{"2S", UINT64_C(2000000000)},
		{"1m", UINT64_C(60000000000)},
		{"1h", UINT64_C(3600000000000)},
	};
	uint64_t duration_ns;

	for (size_t i = 0; i < SP_ARRAY_COUNT(durations); i++) {
		ck_assert_int_eq(sp_value_duration(durations[i].text, &duration_ns), 0);
		ck_assert_uint_eq(duration_ns, durations[i].duration_ns);
	}
	duration_ns = 5;
	ck_assert_int_eq(sp_value_duration("3 s", &duration_ns), -EINVAL);
	ck_assert_int_eq(sp_value_duration("ms", &duration_ns), -EINVAL);
	ck_assert_int_eq(sp_value_duration("", &duration_ns), -EINVAL);
	ck_assert_uint_eq(duration_ns, 5);
	ck_assert_int_eq(sp_value_duration("9999999999h", &duration_ns), -ERANGE);
	ck_assert_uint_eq(duration_ns, UINT64_MAX);
}
END_TEST

START_TEST(the_largest_number_fits_and_the_next_does_not)
{
	uint64_t number = 0;

	ck_assert_int_eq(sp_value_number("18446744073709551615", &number), 0);
	ck_assert_uint_eq(number, UINT64_MAX);
	ck_assert_int_eq(sp_value_number("18446744073709551616", &number), -ERANGE);
	ck_assert_int_eq(sp_value_number("99999999999999999999999999", &number), -ERANGE);
	ck_assert_int_eq(sp_value_size("16777216G", &number), 0);
	ck_assert_uint_eq(number, UINT64_C(16777216) << 30);
	ck_assert_int_eq(sp_value_size("17179869184G", &number), -ERANGE);
}
END_TEST

static unsigned int distance(const char *one, const char *other)
{
	return sp_word_distance(one, strlen(one), other, strlen(other));
}

START_TEST(words_are_as_far_apart_as_one_has_to_type)
{
	ck_assert_uint_eq(distance("out", "out"), 0);
	ck_assert_uint_eq(distance("", "out"), 3);
	ck_assert_uint_eq(distance("ot", "out"), 1);
	ck_assert_uint_eq(distance("oout", "out"), 1);
	ck_assert_uint_eq(distance("oat", "out"), 1);
	ck_assert_uint_eq(distance("otu", "out"), 1); /* swapped */
	ck_assert_uint_eq(distance("kitten", "sitting"), 3);
	ck_assert_uint_eq(distance("CPU-HZ", "cpu:hz"), 0);
}
END_TEST

/* File names */

static char name[2 * NAME_MAX]; /* more than a file system takes */

static int file_name(const char *pattern)
{
	strcpy(options.file_pattern, pattern);
	memset(name, '#', sizeof(name));
	return sp_options_file_name(&options, "redis-server", 4711, 1700000000123456789,
				    "cpu", "pb.gz", name, sizeof(name));
}

START_TEST(the_default_name_has_program_and_pid)
{
	ck_assert_int_eq(file_name("%e.%p"), 0);
	ck_assert_str_eq(name, "redis-server.4711.cpu.pb.gz");
}
END_TEST

START_TEST(every_placeholder_is_expanded)
{
	char host[256] = "", expected[1024];

	ck_assert_int_eq(gethostname(host, sizeof(host)), 0);
	snprintf(expected, sizeof(expected),
		 "100%%-redis-server-4711-1700000000123456789-%s.cpu.pb.gz", host);
	ck_assert_int_eq(file_name("100%%-%e-%p-%t-%h"), 0);
	ck_assert_str_eq(name, expected);
}
END_TEST

START_TEST(a_bad_pattern_gives_no_name)
{
	static const char *const patterns[] = {"%x", "a%", "a/b", "/a", "%e/"};

	for (size_t i = 0; i < SP_ARRAY_COUNT(patterns); i++) {
		ck_assert_int_eq(file_name(patterns[i]), -EINVAL);
		ck_assert_str_eq(name, "");
	}
}
END_TEST

START_TEST(a_program_with_an_odd_name_stays_in_its_directory)
{
	ck_assert_int_eq(sp_options_file_name(&options, "../a\nb\x7f", 1, 2, "cpu",
					      "pb.gz", name, sizeof(name)),
			 0);
	ck_assert_str_eq(name, ".._a_b_.1.cpu.pb.gz");
	ck_assert_int_eq(sp_options_file_name(&options, "", 1, 2, "cpu", "pb.gz", name,
					      sizeof(name)),
			 0);
	ck_assert_str_eq(name, "unknown.1.cpu.pb.gz");
}
END_TEST

START_TEST(a_name_that_does_not_fit_is_refused_whole)
{
	char program[NAME_MAX + 10], small[20];
	size_t rest_bytes = strlen(".1.cpu.pb.gz");

	memset(program, 'p', sizeof(program));
	program[NAME_MAX - rest_bytes] = '\0';
	ck_assert_int_eq(sp_options_file_name(&options, program, 1, 2, "cpu", "pb.gz",
					      name, sizeof(name)),
			 0);
	ck_assert_uint_eq(strlen(name), NAME_MAX);
	program[NAME_MAX - rest_bytes] = 'p';
	program[NAME_MAX - rest_bytes + 1] = '\0';
	ck_assert_int_eq(sp_options_file_name(&options, program, 1, 2, "cpu", "pb.gz",
					      name, sizeof(name)),
			 -ENAMETOOLONG);
	ck_assert_str_eq(name, "");

	/* "redis.17.cpu.pb.gz" has 18 bytes and a NUL. */
	memset(small, '#', sizeof(small));
	ck_assert_int_eq(
		sp_options_file_name(&options, "redis", 17, 2, "cpu", "pb.gz", small, 19),
		0);
	ck_assert_str_eq(small, "redis.17.cpu.pb.gz");
	ck_assert_int_eq(small[19], '#');
	ck_assert_int_eq(
		sp_options_file_name(&options, "redis", 17, 2, "cpu", "pb.gz", small, 18),
		-ENAMETOOLONG);
	ck_assert_int_eq(small[0], '\0');
	ck_assert_int_eq(
		sp_options_file_name(&options, "redis", 17, 2, "cpu", "pb.gz", small, 0),
		-ENAMETOOLONG);
}
END_TEST

static Suite *options_suite(void)
{
	Suite *suite = suite_create("options");
	TCase *tcase;

	tcase = tcase_create("reading");
	tcase_add_checked_fixture(tcase, setup_defaults, NULL);
	tcase_add_test(tcase, nothing_set_profiles_everything_there_is);
	tcase_add_test(tcase, each_default_in_the_table_is_what_no_option_gives);
	tcase_add_test(tcase, each_option_in_the_table_is_complete);
	tcase_add_loop_test(tcase, an_option_works_in_both_notations, 0,
			    SP_ARRAY_COUNT(effects));
	tcase_add_test(tcase, sizes_take_suffixes);
	tcase_add_test(tcase, a_dense_heap_profile_gets_a_larger_recording);
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

	tcase = tcase_create("mistakes");
	tcase_add_checked_fixture(tcase, setup_defaults, NULL);
	tcase_add_loop_test(tcase, a_mistake_is_named_with_the_nearest_right_one, 0,
			    SP_ARRAY_COUNT(refusals));
	tcase_add_test(tcase, the_first_mistake_is_told);
	tcase_add_loop_test(tcase, a_path_may_be_as_long_as_the_kernel_takes, 0, 4);
	tcase_add_test(tcase, a_file_pattern_that_is_too_long_is_refused);
	tcase_add_test(tcase, a_huge_mistake_gives_a_short_line);
	tcase_add_test(tcase, an_error_buffer_of_any_size_is_kept_within);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("values");
	tcase_add_test(tcase, durations_take_units);
	tcase_add_test(tcase, the_largest_number_fits_and_the_next_does_not);
	tcase_add_test(tcase, words_are_as_far_apart_as_one_has_to_type);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("file names");
	tcase_add_checked_fixture(tcase, setup_defaults, NULL);
	tcase_add_test(tcase, the_default_name_has_program_and_pid);
	tcase_add_test(tcase, every_placeholder_is_expanded);
	tcase_add_test(tcase, a_bad_pattern_gives_no_name);
	tcase_add_test(tcase, a_program_with_an_odd_name_stays_in_its_directory);
	tcase_add_test(tcase, a_name_that_does_not_fit_is_refused_whole);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(options_suite());
	int failed_count;

	srunner_run_all(runner, CK_NORMAL);
	failed_count = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed_count == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
