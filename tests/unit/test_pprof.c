/*
 * What a pprof file says about a profile.
 */
#include "pprof_fixture.h"
#include "sp_profile_stream.h"

#include <stdlib.h>
#include <string.h>

START_TEST(profile_without_samples_is_a_whole_file)
{
	report();
	ck_assert_uint_eq(profile->message->n_sample, 0);
	ck_assert_uint_eq(profile->message->n_location, 0);
	ck_assert_uint_eq(profile->message->n_sample_type, 2);
	ck_assert_uint_eq(profile->message->n_mapping, 2);
}
END_TEST

START_TEST(head_says_what_was_measured_and_when)
{
	const char *const comments[] = {"program: app", "losses: none"};

	memory.view.comments = comments;
	memory.view.comment_count = 2;
	memory.view.drop_frames = "malloc|free";
	report();
	ck_assert_str_eq(text(profile->message->sample_type[0]->type), "samples");
	ck_assert_str_eq(text(profile->message->sample_type[0]->unit), "count");
	ck_assert_str_eq(text(profile->message->sample_type[1]->type), "cpu");
	ck_assert_str_eq(text(profile->message->sample_type[1]->unit), "nanoseconds");
	ck_assert_str_eq(text(profile->message->default_sample_type), "cpu");
	ck_assert_str_eq(text(profile->message->period_type->type), "cpu");
	ck_assert_str_eq(text(profile->message->period_type->unit), "nanoseconds");
	ck_assert_int_eq(profile->message->period, 10000000);
	ck_assert_int_eq(profile->message->time_nanos, INT64_C(1700000000000000000));
	ck_assert_int_eq(profile->message->duration_nanos, INT64_C(2500000000));
	ck_assert_str_eq(text(profile->message->drop_frames), "malloc|free");
	ck_assert_uint_eq(profile->message->n_comment, 2);
	ck_assert_str_eq(profile_comment(profile, 0), "program: app");
	ck_assert_str_eq(profile_comment(profile, 1), "losses: none");
}
END_TEST

START_TEST(sample_keeps_its_values_and_its_stack_leaf_first)
{
	add_stack(3, sp_frame_make(LIBRARY, 0x1234), sp_frame_make(PROGRAM, 0x1010));
	report();
	ck_assert_uint_eq(profile->message->n_sample, 1);
	ck_assert_int_eq(profile->message->sample[0]->value[0], 3);
	ck_assert_int_eq(profile->message->sample[0]->value[1], 30000000);
	ck_assert_uint_eq(profile->message->sample[0]->n_location_id, 2);
	ck_assert_int_eq(profile_sum_leaf(profile, "cpu", "f3_1200"), 30000000);
	ck_assert_int_eq(profile_sum_leaf(profile, "cpu", "f5_1000"), 0);
	ck_assert_int_eq(profile_sum_with(profile, "cpu", "f5_1000"), 30000000);
	ck_assert_uint_eq(leaf_of(0)->address, 0x7f1000001234);
}
END_TEST

START_TEST(function_keeps_its_name_and_the_linkers)
{
	const Perftools__Profiles__Function *function;

	add_frame(1, sp_frame_make(PROGRAM, 0x1234));
	report();
	function = profile_function(profile, leaf_of(0)->line[0]->function_id);
	ck_assert_str_eq(text(function->name), "f5_1200");
	ck_assert_str_eq(text(function->system_name), "_Zf5_1200");
	ck_assert_int_eq(function->filename, 0);
	ck_assert_int_eq(function->start_line, 0);
}
END_TEST

START_TEST(addresses_of_one_function_share_it)
{
	add_frame(1, sp_frame_make(PROGRAM, 0x1201));
	add_frame(1, sp_frame_make(PROGRAM, 0x1300));
	add_frame(1, sp_frame_make(PROGRAM, 0x12ff));
	report();
	ck_assert_uint_eq(profile->message->n_location, 3);
	ck_assert_uint_eq(profile->message->n_function, 2);
	ck_assert_int_eq(profile_sum_leaf(profile, "samples", "f5_1200"), 2);
}
END_TEST

START_TEST(named_frame_is_a_function_with_file_and_line)
{
	static const struct sp_view_named_frame named[] = {
		{"query", "db", "db.c", 17},
		{"request", "request", NULL, 0},
	};
	const Perftools__Profiles__Function *function;

	memory.view.named_frames = named;
	memory.view.named_frame_count = 2;
	add_stack(1, sp_frame_make(SP_MODULE_NAMED, 0),
		  sp_frame_make(SP_MODULE_NAMED, 1));
	/* No such name: the sample stays. */
	add_frame(2, sp_frame_make(SP_MODULE_NAMED, 2));
	report();
	function = profile_function(profile, leaf_of(0)->line[0]->function_id);
	ck_assert_str_eq(text(function->name), "query");
	ck_assert_str_eq(text(function->system_name), "db");
	ck_assert_str_eq(text(function->filename), "db.c");
	ck_assert_int_eq(function->start_line, 17);
	ck_assert_int_eq(leaf_of(0)->line[0]->line, 17);
	ck_assert_uint_eq(leaf_of(0)->address, 0);
	ck_assert_uint_eq(leaf_of(0)->mapping_id, 0);
	/* A linker's name that is the name would be demangled. */
	ck_assert(profile_sample_has(profile, profile->message->sample[0], "request"));
	for (size_t i = 0; i < profile->message->n_function; i++)
		ck_assert_str_ne(text(profile->message->function[i]->system_name),
				 "request");
	ck_assert_int_eq(profile_sum_leaf(profile, "samples", "[?]"), 2);
}
END_TEST

START_TEST(same_frame_is_one_location)
{
	add_stack(1, sp_frame_make(PROGRAM, 0x1100), sp_frame_make(PROGRAM, 0x1100));
	add_frame(1, sp_frame_make(PROGRAM, 0x1100));
	report();
	ck_assert_uint_eq(profile->message->n_location, 1);
	ck_assert_uint_eq(profile->message->sample[0]->n_location_id, 2);
}
END_TEST

START_TEST(thousand_stacks_keep_their_values)
{
	for (uint32_t i = 0; i < 1000; i++)
		add_stack(i + 1, sp_frame_make(LIBRARY, 0x1000 + 8 * (i * 7 % 1000)),
			  sp_frame_make(PROGRAM, 0x1000 + FUNCTION_BYTES * (i % 10)));
	report();
	ck_assert_uint_eq(profile->message->n_sample, 1000);
	ck_assert_int_eq(profile_total(profile, "samples"), 500500);
	for (uint32_t i = 0; i < 1000; i++) {
		ck_assert_int_eq(profile->message->sample[i]->value[0], i + 1);
		ck_assert_uint_eq(leaf_of(i)->address,
				  0x7f1000001000 + 8 * (i * 7 % 1000));
	}
	/* 1 + 11 + … + 991 */
	ck_assert_int_eq(profile_sum_with(profile, "samples", "f5_1000"), 49600);
}
END_TEST

START_TEST(program_is_the_first_mapping)
{
	report();
	ck_assert_uint_eq(profile->message->mapping[0]->id, 1);
	ck_assert_str_eq(text(profile->message->mapping[0]->filename), "/opt/app");
	ck_assert_uint_eq(profile->message->mapping[1]->id, 2);
	ck_assert_str_eq(text(profile->message->mapping[1]->filename),
			 "/usr/lib/libwork.so.1");
}
END_TEST

START_TEST(mapping_tells_segment_and_build_id)
{
	const Perftools__Profiles__Mapping *mapping;

	report();
	mapping = profile->message->mapping[0];
	ck_assert_uint_eq(mapping->memory_start, 0x401000);
	ck_assert_uint_eq(mapping->memory_limit, 0x500000);
	ck_assert_uint_eq(mapping->file_offset, 0x1000);
	ck_assert_str_eq(text(mapping->build_id),
			 "ab01ff000a000000000000000000000000000000");
	ck_assert_str_eq(text(profile->message->mapping[1]->build_id),
			 "123456789abcdef0");
}
END_TEST

START_TEST(mappings_leave_lines_to_the_reader)
{
	add_frame(1, sp_frame_make(PROGRAM, 0x1100));
	report();
	for (size_t i = 0; i < profile->message->n_mapping; i++) {
		const Perftools__Profiles__Mapping *mapping =
			profile->message->mapping[i];

		ck_assert(!mapping->has_functions && !mapping->has_filenames &&
			  !mapping->has_line_numbers && !mapping->has_inline_frames);
	}
}
END_TEST

START_TEST(profile_without_modules_has_no_mappings)
{
	memory.view.module_count = 0;
	add_frame(1, sp_frame_pseudo(SP_PSEUDO_UNSAMPLED));
	report();
	ck_assert_uint_eq(profile->message->n_mapping, 0);
}
END_TEST

START_TEST(modules_at_one_address_stay_apart)
{
	struct sp_view_module twins[] = {pprof_modules[1], pprof_modules[0],
					 pprof_modules[0]};

	twins[2].id = 9;
	twins[2].path = "/usr/lib/libother.so.1";
	memory.view.modules = twins;
	memory.view.module_count = 3;
	add_frame(1, sp_frame_make(LIBRARY, 0x1100));
	add_frame(2, sp_frame_make(9, 0x1100));
	report();
	ck_assert_uint_eq(leaf_of(0)->address, leaf_of(1)->address);
	ck_assert_uint_ne(leaf_of(0)->id, leaf_of(1)->id);
	ck_assert_str_eq(text(profile_mapping(profile, leaf_of(0)->mapping_id)->filename),
			 "/usr/lib/libwork.so.1");
	ck_assert_str_eq(text(profile_mapping(profile, leaf_of(1)->mapping_id)->filename),
			 "/usr/lib/libother.so.1");
	ck_assert_int_eq(profile_sum_leaf(profile, "samples", "f9_1100"), 2);
}
END_TEST

START_TEST(vdso_without_a_path_is_named)
{
	struct sp_view_module with_vdso[] = {pprof_modules[1], pprof_modules[0]};

	with_vdso[1].is_vdso = true;
	with_vdso[1].path = "";
	memory.view.modules = with_vdso;
	report();
	ck_assert_str_eq(text(profile->message->mapping[1]->filename), "[vdso]");
}
END_TEST

START_TEST(address_outside_of_the_text_is_in_no_mapping)
{
	add_frame(1, sp_frame_make(LIBRARY, 0x9000));
	add_frame(1, sp_frame_make(LIBRARY, 0x8fff));
	add_frame(1, sp_frame_make(LIBRARY, 0xfff));
	report();
	ck_assert_uint_eq(leaf_of(0)->mapping_id, 0);
	ck_assert_uint_eq(leaf_of(1)->mapping_id, 2);
	ck_assert_uint_eq(leaf_of(2)->mapping_id, 0);
	ck_assert_int_eq(profile_sum_leaf(profile, "samples", "f3_9000"), 1);
}
END_TEST

START_TEST(frame_of_a_module_that_nobody_knows_is_counted)
{
	add_frame(4, sp_frame_make(77, 0x1000));
	report();
	ck_assert_int_eq(profile_sum_leaf(profile, "samples", "[unknown module]"), 4);
	ck_assert_uint_eq(leaf_of(0)->mapping_id, 0);
}
END_TEST

START_TEST(frames_that_are_no_code_have_names_and_no_address)
{
	for (unsigned i = 1; i < SP_PSEUDO_COUNT; i++)
		add_frame(i, sp_frame_pseudo((enum sp_pseudo_frame)i));
	report();
	ck_assert_uint_eq(profile->message->n_function, SP_PSEUDO_COUNT - 1);
	for (unsigned i = 1; i < SP_PSEUDO_COUNT; i++) {
		ck_assert_int_eq(
			profile_sum_leaf(profile, "samples", sp_pseudo_frame_name(i)), i);
		ck_assert_uint_eq(leaf_of(i - 1)->address, 0);
		ck_assert_uint_eq(leaf_of(i - 1)->mapping_id, 0);
	}
}
END_TEST

START_TEST(sample_without_a_stack_is_called_incomplete)
{
	memory_view_add(&memory, 6, NULL, 0);
	report();
	ck_assert_int_eq(profile_sum_leaf(profile, "samples", "[incomplete]"), 6);
}
END_TEST

START_TEST(generated_code_without_names_is_one_function)
{
	const Perftools__Profiles__Mapping *mapping;

	for (uint64_t i = 0; i < 100; i++)
		add_frame(1, sp_frame_make(SP_MODULE_NONE, 0x20001234 + i * 64));
	report();
	ck_assert_int_eq(profile_sum_leaf(profile, "samples", "[jit]"), 100);
	ck_assert_uint_eq(profile->message->n_function, 1);
	ck_assert_uint_eq(profile->message->n_location, 100);
	ck_assert_uint_eq(leaf_of(1)->address, 0x20001274);
	mapping = profile_mapping(profile, leaf_of(0)->mapping_id);
	ck_assert_ptr_nonnull(mapping);
	ck_assert_str_eq(text(mapping->filename), "[jit]");
	ck_assert_uint_ne(mapping->id, 1);
	ck_assert(mapping->has_functions);
	ck_assert_uint_eq(mapping->memory_start, 0x20001000);
	ck_assert_uint_eq(mapping->memory_limit, 0x20003000);
}
END_TEST

START_TEST(generated_code_gets_its_name_and_keeps_it)
{
	const Perftools__Profiles__Function *function;

	add_frame(2, sp_frame_make(SP_MODULE_NONE, JIT_NAMED_FROM));
	add_frame(3, sp_frame_make(SP_MODULE_NONE, JIT_NAMED_FROM + 8));
	add_frame(1, sp_frame_make(SP_MODULE_NONE, 0x1000));
	report();
	ck_assert_int_eq(profile_sum_leaf(profile, "samples", "JS:~<anonymous> app.js:1"),
			 5);
	ck_assert_uint_eq(profile->message->n_function, 2);
	function = profile_function(profile, leaf_of(0)->line[0]->function_id);
	/* A reader that finds both names equal simplifies them as C++. */
	ck_assert_int_eq(function->system_name, 0);
}
END_TEST

/* Heap profiles have four types, and the default may be any. */
START_TEST(number_of_the_default_type_is_no_index_of_a_type)
{
	static const struct sp_value_type heap_types[] = {{"alloc_objects", "count"},
							  {"alloc_space", "bytes"},
							  {"inuse_objects", "count"},
							  {"inuse_space", "bytes"}};

	memcpy(memory.view.value_types, heap_types, sizeof(heap_types));
	memory.view.value_type_count = 4;
	memory.view.default_value_type = (uint32_t)_i;
	memory.view.period_type = (struct sp_value_type){"space", "bytes"};
	report();
	ck_assert_str_eq(text(profile->message->default_sample_type),
			 heap_types[_i].type);
	ck_assert_int_ge(profile->message->default_sample_type, 4);
	for (size_t i = 0; i < 4; i++)
		ck_assert_str_eq(text(profile->message->sample_type[i]->type),
				 heap_types[i].type);
}
END_TEST

START_TEST(bytes_that_are_no_text_are_spelled_out)
{
	struct sp_view_module odd[] = {pprof_modules[1]};
	struct sp_view_sample *sample;

	odd[0].path = "/opt/caf\xe9/\xf0\x9f\x92\xa9/\xed\xa0\x80";
	memory.view.modules = odd;
	memory.view.module_count = 1;
	sample = add_frame(1, sp_frame_make(PROGRAM, 0x1000));
	memory_view_label_text(sample, "thread", "half \xe2\x82");
	report();
	ck_assert_str_eq(text(profile->message->mapping[0]->filename),
			 "/opt/caf\\xe9/\xf0\x9f\x92\xa9/\\xed\\xa0\\x80");
	ck_assert_int_eq(
		profile_sum_label(profile, "samples", "thread", "half \\xe2\\x82"), 1);
}
END_TEST

START_TEST(endless_text_is_cut_between_characters)
{
	size_t repeats = SP_PROFILE_STRING_BYTES_MAX; /* of three bytes each */
	char *long_text = calloc(repeats * 3 + 1, 1);
	const char *const comments[] = {long_text};

	for (size_t i = 0; i < repeats; i++)
		memcpy(long_text + 3 * i, "\xe2\x82\xac", 3);
	memory.view.comments = comments;
	memory.view.comment_count = 1;
	report();
	ck_assert_uint_eq(strlen(profile_comment(profile, 0)),
			  SP_PROFILE_STRING_BYTES_MAX / 3 * 3);
	ck_assert_int_eq(strncmp(profile_comment(profile, 0), long_text,
				 SP_PROFILE_STRING_BYTES_MAX / 3 * 3),
			 0);
	free(long_text);
}
END_TEST

START_TEST(same_profile_gives_the_same_bytes)
{
	uint8_t *first;
	size_t first_bytes;

	add_many_stacks();
	report();
	first = sink.data;
	first_bytes = sink.size_bytes;
	memory_sink_init(&sink);
	ck_assert_int_eq(pprof_write(), 0);
	ck_assert_uint_eq(sink.size_bytes, first_bytes);
	ck_assert_int_eq(memcmp(sink.data, first, first_bytes), 0);
	free(first);
}
END_TEST

START_TEST(reporter_is_found_by_its_name)
{
	ck_assert_ptr_eq(sp_reporter_find("pprof"), &sp_reporter_pprof);
	ck_assert_ptr_null(sp_reporter_find("pprof2"));
	ck_assert_ptr_null(sp_reporter_find(""));
	ck_assert_ptr_null(sp_reporter_find(NULL));
	ck_assert_str_eq(sp_reporter_pprof.extension, "pb.gz");
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, profile_without_samples_is_a_whole_file);
	tcase_add_test(tc, head_says_what_was_measured_and_when);
	tcase_add_test(tc, sample_keeps_its_values_and_its_stack_leaf_first);
	tcase_add_test(tc, function_keeps_its_name_and_the_linkers);
	tcase_add_test(tc, addresses_of_one_function_share_it);
	tcase_add_test(tc, named_frame_is_a_function_with_file_and_line);
	tcase_add_test(tc, same_frame_is_one_location);
	tcase_add_test(tc, thousand_stacks_keep_their_values);
	tcase_add_test(tc, program_is_the_first_mapping);
	tcase_add_test(tc, mapping_tells_segment_and_build_id);
	tcase_add_test(tc, mappings_leave_lines_to_the_reader);
	tcase_add_test(tc, profile_without_modules_has_no_mappings);
	tcase_add_test(tc, modules_at_one_address_stay_apart);
	tcase_add_test(tc, vdso_without_a_path_is_named);
	tcase_add_test(tc, address_outside_of_the_text_is_in_no_mapping);
	tcase_add_test(tc, frame_of_a_module_that_nobody_knows_is_counted);
	tcase_add_test(tc, frames_that_are_no_code_have_names_and_no_address);
	tcase_add_test(tc, sample_without_a_stack_is_called_incomplete);
	tcase_add_test(tc, generated_code_without_names_is_one_function);
	tcase_add_test(tc, generated_code_gets_its_name_and_keeps_it);
	tcase_add_loop_test(tc, number_of_the_default_type_is_no_index_of_a_type, 0, 4);
	tcase_add_test(tc, bytes_that_are_no_text_are_spelled_out);
	tcase_add_test(tc, endless_text_is_cut_between_characters);
	tcase_add_test(tc, same_profile_gives_the_same_bytes);
	tcase_add_test(tc, reporter_is_found_by_its_name);
}

int main(void)
{
	return run_pprof_suite("pprof", add_tests);
}
