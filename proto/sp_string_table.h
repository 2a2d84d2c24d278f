/*
 * Each different text once, numbered in the order of arrival from 0. Texts are
 * copied, so that callers may build them in passing.
 *
 * Context of everything here: collector.
 */
#ifndef SP_STRING_TABLE_H
#define SP_STRING_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_string_entry;
struct sp_string_chunk;

struct sp_string_table {
	struct sp_string_entry *entries;
	uint32_t count;
	uint32_t capacity_entries;
	uint32_t *slots; /* index + 1; twice as many as entries, a power of two */
	struct sp_string_chunk *newest_chunk;
};

void sp_string_table_init(struct sp_string_table *table);
void sp_string_table_fini(struct sp_string_table *table);

/*
 * The number of this text, which is_new tells to be just given. text need not
 * end in zero. -ENOMEM when memory is short; the table is then as before.
 */
int64_t sp_string_table_add(struct sp_string_table *table, const char *text,
			    size_t text_bytes, bool *is_new);

#endif
