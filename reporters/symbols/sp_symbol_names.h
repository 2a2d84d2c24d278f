/*
 * The strings the symboliser hands out: each different string once, in blocks
 * from sp_heap, until all are released together. Asking again for names already
 * known takes no memory, so that a long-lived symboliser does not grow.
 *
 * Context of everything here: collector.
 */
#ifndef SP_SYMBOL_NAMES_H
#define SP_SYMBOL_NAMES_H

#include <stddef.h>
#include <stdint.h>

/* All strings together; further names then become SP_SYMBOL_NO_NAME. */
#define SP_SYMBOL_NAMES_BYTES_MAX ((size_t)64 << 20)
/* What is handed out when memory is short. */
#define SP_SYMBOL_NO_NAME "[unnamed]"

struct sp_symbol_names {
	struct sp_names_block *blocks;
	size_t total_bytes;
	const char **slots; /* open addressing; a power of two of them */
	size_t slot_count, used_slots;
};

void sp_symbol_names_init(struct sp_symbol_names *names);
void sp_symbol_names_fini(struct sp_symbol_names *names);

/*
 * The one copy of a name. Bytes that are not UTF-8, and control characters,
 * become '?': profiles are UTF-8 whatever a symbol table holds. NULL when memory
 * is short.
 */
const char *sp_symbol_names_intern(struct sp_symbol_names *names, const char *name,
				   size_t length);

/* "module+0x1f40": the last part of path and an offset. NULL when memory is short. */
const char *sp_symbol_names_offset(struct sp_symbol_names *names, const char *path,
				   uint64_t offset);

#endif
