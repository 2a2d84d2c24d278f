/*
 * Names of known shape, and one view, sink and decoded profile for each test.
 */
#include "pprof_fixture.h"

#include "pprof_once.h"
#include "sp_symbols.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct memory_view memory;
struct memory_sink sink;
struct profile *profile;

static const uint8_t program_id[20] = {0xab, 0x01, 0xff, 0x00, 0x0a};
static const uint8_t library_id[8] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0};

const struct sp_view_module pprof_modules[2] = {
	{.id = LIBRARY,
	 .base = 0x7f1000000000,
	 .text_start = 0x7f1000001000,
	 .text_end = 0x7f1000009000,
	 .text_file_offset = 0x1000,
	 .build_id = library_id,
	 .build_id_bytes = sizeof(library_id),
	 .path = "/usr/lib/libwork.so.1"},
	{.id = PROGRAM,
	 .is_main = true,
	 .base = 0x400000,
	 .text_start = 0x401000,
	 .text_end = 0x500000,
	 .text_file_offset = 0x1000,
	 .build_id = program_id,
	 .build_id_bytes = sizeof(program_id),
	 .path = "/opt/app"},
};

struct name {
	struct name *next;
	char text[64];
};

struct sp_symbols {
	struct name *names;
};

struct sp_symbols *sp_symbols_create(void)
{
	return calloc(1, sizeof(struct sp_symbols));
}

void sp_symbols_destroy(struct sp_symbols *symbols)
{
	while (symbols->names) {
		struct name *next = symbols->names->next;

		free(symbols->names);
		symbols->names = next;
	}
	free(symbols);
}

static const char *new_name(struct sp_symbols *symbols, const char *prefix,
			    unsigned module, uint64_t start)
{
	struct name *name = calloc(1, sizeof(*name));

	ck_assert_ptr_nonnull(name);
	snprintf(name->text, sizeof(name->text), "%s%u_%" PRIx64, prefix, module, start);
	name->next = symbols->names;
	symbols->names = name;
	return name->text;
}

int sp_symbols_resolve(struct sp_symbols *symbols, const struct sp_view_module *module,
		       struct sp_symbol_query *queries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t start = queries[i].offset / FUNCTION_BYTES * FUNCTION_BYTES;

		ck_assert(i == 0 || queries[i - 1].offset < queries[i].offset);
		queries[i].start_offset = start;
		queries[i].name = new_name(symbols, "f", module->id, start);
		queries[i].system_name = new_name(symbols, "_Zf", module->id, start);
	}
	return 0;
}

const char *sp_symbols_resolve_jit(struct sp_symbols *symbols, int pid, uint64_t address)
{
	(void)symbols;
	ck_assert_int_eq(pid, 17);
	return address >= JIT_NAMED_FROM ? "JS:~<anonymous> app.js:1" : NULL;
}

void pprof_setup(void)
{
	memory_view_init(&memory);
	memory.view.modules = pprof_modules;
	memory.view.module_count = 2;
	memory_sink_init(&sink);
	profile = NULL;
	test_heap_refuse_after(SIZE_MAX);
}

void pprof_teardown(void)
{
	profile_free(profile);
	memory_sink_fini(&sink);
	memory_view_fini(&memory);
}

int pprof_write(void)
{
	memory_sink_empty(&sink);
	return pprof_write_once(&memory.view, &sink.sink);
}

void report(void)
{
	char error[256] = "";

	ck_assert_int_eq(pprof_write(), 0);
	profile = profile_decode(sink.data, sink.size_bytes, error, sizeof(error));
	ck_assert_msg(profile != NULL, "%s", error);
	ck_assert_msg(profile_check(profile, error, sizeof(error)), "%s", error);
}

void add_stack(int64_t count, uint64_t leaf, uint64_t root)
{
	const uint64_t frames[] = {leaf, root};

	memory_view_add(&memory, count, frames, 2);
}

struct sp_view_sample *add_frame(int64_t count, uint64_t frame)
{
	return memory_view_add(&memory, count, &frame, 1);
}

const char *text(int64_t index)
{
	const char *string = profile_string(profile, index);

	ck_assert_ptr_nonnull(string);
	return string;
}

const Perftools__Profiles__Location *leaf_of(size_t sample)
{
	ck_assert_uint_lt(sample, profile->message->n_sample);
	return profile_location(profile,
				profile->message->sample[sample]->location_id[0]);
}

void add_many_stacks(void)
{
	uint64_t random = 1;

	for (int i = 0; i < 5000; i++) {
		uint64_t frames[8];

		for (int j = 0; j < 8; j++) {
			random = random * UINT64_C(6364136223846793005) +
				 1442695040888963407;
			frames[j] = sp_frame_make(PROGRAM, 0x1000 + (random >> 44));
		}
		memory_view_add(&memory, (int64_t)(random >> 32), frames, 8);
	}
}

int run_pprof_suite(const char *name, void (*add_tests)(TCase *tc))
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, pprof_setup, pprof_teardown);
	add_tests(tc);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
