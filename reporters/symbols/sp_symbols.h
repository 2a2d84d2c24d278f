/*
 * From addresses in ELF files to function names: .symtab and .dynsym of the file
 * itself or of a debug file found by build id, read by mmap, with a check of
 * sizes, so that no address gets the name of a neighbour. Where no symbol covers
 * an address, the start of its function from .eh_frame names it:
 * "module+0x<function start>".
 *
 * Context of everything here: collector. Damaged files give no names, never a crash.
 */
#ifndef SP_SYMBOLS_H
#define SP_SYMBOLS_H

#include "sp_profile_view.h"

struct sp_symbol_query {
	uint64_t offset;   /* in: frame offset (address - module base) */
	const char *name;  /* out: demangled, never NULL after the call */
	const char *system_name; /* out: as in the symbol table, or the same as name */
	uint64_t start_offset;	 /* out: function start, frame offset */
};

struct sp_symbols; /* owns all names it hands out */

struct sp_symbols *sp_symbols_create(void);
void sp_symbols_destroy(struct sp_symbols *symbols);

/*
 * Names count addresses of one module in one pass over its symbol tables (cost
 * grows with the table once, not with each address). queries are sorted by
 * offset. 0, or -errno when memory is short (names are then "module+0x…").
 */
int sp_symbols_resolve(struct sp_symbols *symbols, const struct sp_view_module *module,
		       struct sp_symbol_query *queries, size_t count);

/*
 * Name of JIT code from perf-PID.map (in /tmp), NULL when there is none.
 */
const char *sp_symbols_resolve_jit(struct sp_symbols *symbols, int pid, uint64_t address);

#endif
