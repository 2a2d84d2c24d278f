/*
 * The real sp_symbols, and a folder of one test in which all files lie that it is
 * to find.
 */
#ifndef SYMBOLS_FIXTURE_H
#define SYMBOLS_FIXTURE_H

/* The tests of the reporters bring a stand-in for sp_symbols in the library all
 * unit tests link; having the real one in the program itself leaves it out. */
#include "symbols.c" /* NOLINT(bugprone-suspicious-include) */

#include "tiny_elf.h"

#include <stdbool.h>

/* A directory of one test; removed with all in it by leave_scratch(). */
static char scratch[64];

static inline void enter_scratch(void)
{
	strcpy(scratch, "/tmp/sp-symbols-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch));
}

static inline void leave_scratch(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", scratch);
	ck_assert_int_eq(system(command), 0);
}

static inline const char *in_scratch(const char *name)
{
	static char paths[4][256];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", scratch, name);
	return path;
}

static struct sp_symbols *symbols;
static char *file_path; /* of the file that the test is about */

/* Confined: debug files and perf maps are looked for in the folder only. */
static inline void symbols_setup(const char *file, bool is_confined)
{
	enter_scratch();
	file_path = strdup(in_scratch(file));
	symbols = sp_symbols_create();
	ck_assert_ptr_nonnull(symbols);
	if (is_confined)
		sp_symbols_set_places(symbols, scratch, scratch);
}

static inline void symbols_teardown(void)
{
	sp_symbols_destroy(symbols);
	free(file_path);
	leave_scratch();
}

#endif
