/*
 * Names of a process's code, looked for once for all profiles that are written
 * together: most of their frames are the same, and a pass over a module's symbols costs
 * more than all else that is done for a profile.
 *
 * Context of everything here: collector, as sp_symbols.h.
 */
#ifndef SP_KNOWN_NAMES_H
#define SP_KNOWN_NAMES_H

#include "sp_frame_table.h"
#include "sp_symbols.h"

/* Modules are told apart by their ids, which must not change meanwhile. */
struct sp_known_names {
	struct sp_symbols *symbols;	 /* owned; for generated code */
	struct sp_frame_table frames;	 /* that have been asked for */
	struct sp_symbol_query *answers; /* by index in frames */
	uint32_t capacity;		 /* of answers */
	struct sp_frame_table expected;	 /* to be asked for later */
	bool is_expected_sorted;
};

/* 0 or -ENOMEM; fini() is due in either case. */
int sp_known_names_init(struct sp_known_names *known);
void sp_known_names_fini(struct sp_known_names *known);

/*
 * Will be asked for later: it is looked for together with the first of its module that
 * are asked for, if any is. Short of memory it is looked for by itself.
 */
void sp_known_names_expect(struct sp_known_names *known, uint64_t frame);

/*
 * As sp_symbols_resolve(), but only what was not asked before is looked for. Short of
 * memory it is looked for again. The names live until fini().
 */
int sp_known_names_resolve(struct sp_known_names *known,
			   const struct sp_view_module *module,
			   struct sp_symbol_query *queries, size_t count);

#endif
