/*
 * All profiles that are written at one time share one book of names: whichever of them
 * an address is in, its name is looked for once. A stand-in for the symbol tables counts.
 */
#include "sp_collector.h"
#include "sp_log.h"
#include "sp_symbols.h"
#include "test_heap_fixture.h"

#include "run_suite.h"

#include <fcntl.h>

#define STACKS 40U
#define MODULES 2U
/* Of the offsets in test_stack(): the leaves, the callers, the root. */
#define PLACES_OF(offset) ((offset) % 4096 + ((offset) >= 0x5000000 ? 4096 : 0))
#define PLACES 8192U

static char folder[64];
static int folder_fd;
static struct sp_recording recording;
static struct sp_write_summary summary;
static unsigned int books;
static unsigned int asked[MODULES][PLACES];

/* In place of those that read files. */
struct sp_symbols {
	int unused;
};

struct sp_symbols *sp_symbols_create(void)
{
	books++;
	return calloc(1, sizeof(struct sp_symbols));
}

void sp_symbols_destroy(struct sp_symbols *symbols)
{
	free(symbols);
}

int sp_symbols_resolve(struct sp_symbols *symbols, const struct sp_view_module *module,
		       struct sp_symbol_query *queries, size_t count)
{
	(void)symbols;
	for (size_t i = 0; i < count; i++) {
		asked[module->id - 1][PLACES_OF(queries[i].offset)]++;
		queries[i].name = "function";
		queries[i].system_name = "function";
		queries[i].start_offset = queries[i].offset;
	}
	return 0;
}

const char *sp_symbols_resolve_jit(struct sp_symbols *symbols, int pid, uint64_t address)
{
	(void)symbols;
	(void)pid;
	(void)address;
	return NULL;
}

static void setup(void)
{
	struct sp_module_record module = {.text_end = UINT64_C(1) << 40};

	books = 0;
	memset(asked, 0, sizeof(asked));
	memset(&summary, 0, sizeof(summary));
	ck_assert(test_make_folder(folder, sizeof(folder)));
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(folder_fd, 0);
	ck_assert_int_eq(test_recording_make(&recording, "/proc/nonexistent",
					     SP_RECORDING_BYTES_MIN * 8),
			 0);
	sp_recording_add_module(&recording, &module, "/bin/tested");
	sp_recording_add_module(&recording, &module, "/lib/tested.so");
	test_heap_begin(&recording);
	recording.header->heap_rate_bytes = 1;
	sp_log_init(-1, false, false);
}

static void teardown(void)
{
	sp_recording_detach(&recording);
	close(folder_fd);
	test_remove_folder(folder);
}

/* Of each stack a CPU sample and a block in use. */
static void add_samples(void)
{
	struct sp_slot *slot = test_thread(&recording, 1, true);

	/* Cells of the heap begin with the one of lost samples. */
	for (uint32_t i = 1; i <= STACKS; i++)
		ck_assert(test_produce(test_ring_of(&recording, slot), i, 1,
				       TEST_END_OUTERMOST));
	ck_assert_int_eq(test_drain(&recording), 0);
	for (uint32_t i = 0; i < STACKS; i++) {
		const struct test_block block = {.cell = test_heap_add_cell(&recording),
						 .size_bytes = 1000 + i};

		test_heap_live(test_heap_entry(&recording, i), &block,
			       0x7f0000000000 + i * 4096);
	}
}

static void write_all(void)
{
	static const enum sp_profile_kind kinds[] = {SP_PROFILE_CPU, SP_PROFILE_HEAP,
						     SP_PROFILE_PEAK, SP_PROFILE_LEAKS};

	sp_collector_write(&recording, folder_fd, SP_WRITE_LEAKS, &summary);
	ck_assert_int_eq(sp_write_summary_error(&summary), 0);
	for (size_t i = 0; i < SP_ARRAY_COUNT(kinds); i++)
		ck_assert_str_ne(summary.kinds[kinds[i]].file, "");
}

/* How many addresses were asked for, and of these the most often asked. */
static unsigned int count_asked(unsigned int *most)
{
	unsigned int count = 0;

	*most = 0;
	for (unsigned int module = 0; module < MODULES; module++) {
		for (unsigned int place = 0; place < PLACES; place++) {
			count += asked[module][place] != 0;
			if (asked[module][place] > *most)
				*most = asked[module][place];
		}
	}
	return count;
}

START_TEST(each_address_is_looked_for_once_whatever_profiles_it_is_in)
{
	unsigned int most;

	add_samples();
	write_all();
	ck_assert_uint_eq(books, 1);
	/* The leaves, five callers, one root. */
	ck_assert_uint_eq(count_asked(&most), STACKS + 5 + 1);
	ck_assert_uint_eq(most, 1);
}
END_TEST

/* Generated code, and files, may have got other names by then. */
START_TEST(what_is_written_later_has_a_book_of_its_own)
{
	unsigned int most;

	add_samples();
	write_all();
	write_all();
	ck_assert_uint_eq(books, 2);
	ck_assert_uint_eq(count_asked(&most), STACKS + 5 + 1);
	ck_assert_uint_eq(most, 2);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("written_names");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, each_address_is_looked_for_once_whatever_profiles_it_is_in);
	tcase_add_test(tcase, what_is_written_later_has_a_book_of_its_own);
	return run_suite("written_names", tcase);
}
