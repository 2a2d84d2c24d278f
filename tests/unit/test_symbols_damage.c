/*
 * Damaged, truncated and hostile files: whatever comes back, every address has a
 * name and the process lives.
 */
#include "sp_symbols.h"

#include "symbols_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#define MUTATIONS_OF_TINY 6000
#define MUTATIONS_OF_REAL 1500
#define REAL_BYTES_MAX ((size_t)256 * 1024)

static void setup(void)
{
	symbols_setup("victim", true);
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

static void resolve_many(uint64_t last)
{
	struct sp_view_module module = {.id = 1, .path = file_path};
	struct sp_symbol_query queries[40];

	for (size_t i = 0; i < 40; i++)
		queries[i].offset = last / 40 * i;
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, queries, 40), 0);
	for (size_t i = 0; i < 40; i++) {
		ck_assert_ptr_nonnull(queries[i].name);
		ck_assert_uint_gt(strlen(queries[i].name), 0);
		ck_assert_uint_gt(strlen(queries[i].system_name), 0);
		ck_assert_uint_le(queries[i].start_offset, queries[i].offset);
	}
}

/* A few bytes become random, extreme, or near what they were. */
static void mutate(uint8_t *bytes, size_t size_bytes, uint64_t *state)
{
	size_t count = 1 + next_random(state) % 8;

	for (size_t i = 0; i < count; i++) {
		size_t at = next_random(state) % size_bytes;

		switch (next_random(state) % 4) {
		case 0:
			bytes[at] = (uint8_t)next_random(state);
			break;
		case 1:
			memset(bytes + at, 0xff,
			       size_bytes - at < 8 ? size_bytes - at : 8);
			break;
		case 2:
			bytes[at] ^= (uint8_t)(1U << next_random(state) % 8);
			break;
		default:
			memset(bytes + at, 0, size_bytes - at < 4 ? size_bytes - at : 4);
			break;
		}
	}
}

static void fill_tiny(struct tiny_elf *elf)
{
	static const uint8_t build_id[20] = {1, 2, 3};

	tiny_init(elf);
	tiny_set_build_id(elf, build_id, sizeof(build_id));
	tiny_set_link(elf, "victim.debug", 7);
	for (uint32_t i = 0; i < 40; i++) {
		char name[48];

		snprintf(name, sizeof(name), "_ZN2ns4FuncILi%uEEEvT_", i);
		tiny_add(elf, name, TINY_TEXT + i * 0x60, i % 3 ? 0x40 : 0,
			 TINY_FUNCTION);
		if (i < 30)
			tiny_add_fde(elf, TINY_TEXT + i * 0x60, 0x50);
	}
}

START_TEST(mutations_of_a_small_file_never_crash)
{
	static struct tiny_elf elf, damaged;
	uint64_t state = 1;

	fill_tiny(&elf);
	for (int i = 0; i < MUTATIONS_OF_TINY; i++) {
		/* Nearly all that is read lies in the first part. */
		size_t hit = i % 4 == 0 ? 0x400 : 0x1800;

		damaged = elf;
		mutate(damaged.bytes, hit, &state);
		write_file(file_path, damaged.bytes, sizeof(damaged.bytes));
		resolve_many(TINY_BYTES);
	}
}
END_TEST

START_TEST(file_cut_anywhere_never_crashes)
{
	static struct tiny_elf elf;

	fill_tiny(&elf);
	for (size_t size_bytes = 0; size_bytes < TINY_BYTES; size_bytes += 37) {
		write_file(file_path, elf.bytes, size_bytes);
		resolve_many(TINY_BYTES);
	}
}
END_TEST

START_TEST(undamaged_file_of_these_tests_does_give_names)
{
	static struct tiny_elf elf;
	struct sp_view_module module = {.id = 1, .path = file_path};
	struct sp_symbol_query query = {.offset = TINY_TEXT + 0x62};

	fill_tiny(&elf);
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "ns::Func<1>");
}
END_TEST

START_TEST(mutations_of_a_real_file_never_crash)
{
	uint8_t *original = malloc(REAL_BYTES_MAX), *damaged = malloc(REAL_BYTES_MAX);
	FILE *file = fopen("/usr/bin/true", "rb");
	uint64_t state = 3;
	size_t size_bytes;

	ck_assert_ptr_nonnull(file);
	size_bytes = fread(original, 1, REAL_BYTES_MAX, file);
	fclose(file);
	for (int i = 0; i < MUTATIONS_OF_REAL; i++) {
		memcpy(damaged, original, size_bytes);
		mutate(damaged, i % 2 ? size_bytes : 1024, &state);
		/* The section headers stand at the end. */
		if (i % 3 == 0)
			mutate(damaged + size_bytes - 2048, 2048, &state);
		write_file(file_path, damaged, size_bytes);
		resolve_many(size_bytes);
	}
	free(original);
	free(damaged);
}
END_TEST

START_TEST(counts_of_section_zero_are_believed_within_bounds)
{
	static struct tiny_elf elf;
	Elf64_Ehdr *header = (Elf64_Ehdr *)(void *)elf.bytes;
	struct sp_view_module module = {.id = 1, .path = file_path};
	struct sp_symbol_query query = {.offset = TINY_TEXT + 0x62};

	fill_tiny(&elf);
	header->e_shnum = 0;
	header->e_shstrndx = SHN_XINDEX;
	tiny_section(&elf, TINY_NULL)->sh_size = TINY_SECTION_COUNT;
	tiny_section(&elf, TINY_NULL)->sh_link = TINY_SECTION_NAMES;
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "ns::Func<1>");
	tiny_section(&elf, TINY_NULL)->sh_size = UINT64_MAX;
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
	resolve_many(TINY_BYTES);
}
END_TEST

START_TEST(unwind_entry_with_a_wrong_cie_covers_nothing)
{
	static struct tiny_elf elf;
	struct sp_view_module module = {.id = 1, .path = file_path};
	struct sp_symbol_query query = {.offset = TINY_TEXT + 4};
	uint32_t at = TINY_BYTES - 24, cie_distance = TINY_FRAMES + 24 + 4 - at;

	tiny_init(&elf);
	tiny_add_fde(&elf, TINY_TEXT, 0x10);
	memcpy(elf.bytes + at, elf.bytes + TINY_FRAMES, 24);
	/* Only entries after their CIE are valid: this one is refused... */
	memcpy(elf.bytes + TINY_FRAMES + 24 + 4, &cie_distance, 4);
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "victim+0x2004");
	/* ...and one that points at the middle of nowhere too. */
	cie_distance = 1;
	memcpy(elf.bytes + TINY_FRAMES + 24 + 4, &cie_distance, 4);
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "victim+0x2004");
}
END_TEST

/* The open file shrinks between the reading of its headers and of its tables: the
 * size that counts is the one pread() meets. */
START_TEST(file_that_shrinks_while_it_is_read_never_crashes)
{
	static struct tiny_elf elf;
	pid_t child;

	fill_tiny(&elf);
	write_file(file_path, elf.bytes, sizeof(elf.bytes));
	child = fork();
	if (child == 0) {
		for (;;) {
			(void)!truncate(file_path, 0x200);
			write_file(file_path, elf.bytes, sizeof(elf.bytes));
		}
	}
	for (int i = 0; i < 2000; i++)
		resolve_many(TINY_BYTES);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("symbols_damage");
	TCase *tc = tcase_create("damage");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, symbols_teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, undamaged_file_of_these_tests_does_give_names);
	tcase_add_test(tc, mutations_of_a_small_file_never_crash);
	tcase_add_test(tc, mutations_of_a_real_file_never_crash);
	tcase_add_test(tc, file_cut_anywhere_never_crashes);
	tcase_add_test(tc, counts_of_section_zero_are_believed_within_bounds);
	tcase_add_test(tc, unwind_entry_with_a_wrong_cie_covers_nothing);
	tcase_add_test(tc, file_that_shrinks_while_it_is_read_never_crashes);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
