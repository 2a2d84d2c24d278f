/*
 * One module, whose file is a tiny ELF that the test fills in.
 */
#ifndef SYMBOLS_MODULE_H
#define SYMBOLS_MODULE_H

#include "symbols_fixture.h"

#define FOO (TINY_TEXT + 0x100)
#define LOCAL_FUNCTION ELF64_ST_INFO(STB_LOCAL, STT_FUNC)

static struct tiny_elf elf;
static struct sp_view_module module;

static inline void setup_module(void)
{
	symbols_setup("tiny.so", true);
	tiny_init(&elf);
	module = (struct sp_view_module){.id = 1, .path = file_path};
}

static inline struct sp_symbol_query ask(uint64_t offset)
{
	struct sp_symbol_query query = {.offset = offset};

	write_file(file_path, elf.bytes, sizeof(elf.bytes));
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_ptr_nonnull(query.name);
	ck_assert_ptr_nonnull(query.system_name);
	return query;
}

static inline void expect(uint64_t offset, const char *name, uint64_t start)
{
	struct sp_symbol_query query = ask(offset);

	ck_assert_str_eq(query.name, name);
	ck_assert_uint_eq(query.start_offset, start);
}

#endif
