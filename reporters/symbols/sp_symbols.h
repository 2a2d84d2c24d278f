/*
 * From addresses in ELF files to function names: .symtab and .dynsym of the file
 * itself and of a debug file found by build id, with a check of sizes, so that no
 * address gets the name of a neighbour. Where no symbol covers an address, the
 * start of its function from .eh_frame names it: "module+0x<function start>",
 * and where there is not even that, the address itself: "module+0x<offset>".
 *
 * Context of everything here: collector, on a thread with 1 MiB of stack (see
 * sp_demangle.h). Nothing is taken from the host's heap, files are read with
 * system calls only. Damaged files give no names, never a crash.
 */
#ifndef SP_SYMBOLS_H
#define SP_SYMBOLS_H

#include "sp_profile_view.h"

struct sp_symbol_query {
	uint64_t offset;	 /* in: frame offset (address - module base) */
	const char *name;	 /* out: demangled, never NULL after the call */
	const char *system_name; /* out: as in the symbol table, or the same as name */
	uint64_t start_offset;	 /* out: function start, frame offset */
};

/* Owns all names it hands out. Equal names are one pointer. */
struct sp_symbols;

/* NULL when memory is short. Meant to live as long as a profile is written. */
struct sp_symbols *sp_symbols_create(void);
void sp_symbols_destroy(struct sp_symbols *symbols);

/*
 * Where separate debug files and perf-PID.map are looked for, instead of
 * /usr/lib/debug and /tmp. NULL leaves a place as it is. The strings stay the
 * caller's and outlive symbols.
 */
void sp_symbols_set_places(struct sp_symbols *symbols, const char *debug_root,
			   const char *perf_map_directory);

/*
 * Names count addresses of one module in one pass over its symbol tables (cost
 * grows with the table once, not with each address). queries are sorted by
 * offset. A file of another build than the module's was replaced since: it gives
 * no names. The name of an address does not depend on what else is asked. 0, -EINVAL
 * when queries are not sorted, or -ENOMEM; names are then the best that could be
 * had: "module+0x<offset>", and "[unnamed]" when there is no memory even for that.
 */
int sp_symbols_resolve(struct sp_symbols *symbols, const struct sp_view_module *module,
		       struct sp_symbol_query *queries, size_t count);

/*
 * Name of JIT code from perf-PID.map (in /tmp), NULL when there is none.
 */
const char *sp_symbols_resolve_jit(struct sp_symbols *symbols, int pid, uint64_t address);

#endif
