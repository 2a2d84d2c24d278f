/*
 * Which symbol covers which of many addresses: one pass over a symbol table,
 * in file order and in chunks, against the sorted addresses. What it costs grows
 * with the table and with the number of addresses, not with their product, and
 * takes no memory for symbols that nobody asked for.
 *
 * Context of everything here: collector.
 */
#ifndef SP_SYMBOL_SCAN_H
#define SP_SYMBOL_SCAN_H

#include "sp_elf_file.h"

/* One symbol, as far as it is needed to compare it with others. */
struct sp_symbol_candidate {
	uint64_t start;
	uint64_t end;
	uint64_t name_offset; /* in the strings of its table */
	uint8_t rank;	      /* 0: no candidate; higher is preferred */
	uint8_t table;	      /* number of the scan that found it, from 0 */
};

/* What the scans know about one address. */
struct sp_symbol_match {
	/* Symbol whose size covers the address. */
	struct sp_symbol_candidate covering;
	/* After sp_symbol_scan_finish(): symbol with the highest start at or below
	 * the address, when it has no size; else rank 0. */
	struct sp_symbol_candidate label;
};

struct sp_symbol_scan {
	const uint64_t *offsets; /* sorted */
	size_t count;
	struct sp_symbol_match *matches; /* one for each offset */
	uint32_t *bucket_first;		 /* first offset of each stretch of addresses */
	uint32_t bucket_count;
	uint32_t bucket_shift;
	uint8_t table_count;
};

/* offsets: sorted, at least one, alive until fini. 0 or -ENOMEM. */
int sp_symbol_scan_init(struct sp_symbol_scan *scan, const uint64_t *offsets,
			size_t count);
void sp_symbol_scan_fini(struct sp_symbol_scan *scan);

/*
 * Looks at all symbols of one table. Where two symbols cover an address, the one
 * that starts later wins, then functions over untyped ones, global over local over
 * weak, then fewer leading underscores, the default version, the shorter name,
 * the alphabet: never the order in the file or what else was asked. At equal
 * starts a table scanned earlier wins over a later one. 0 or -ENOMEM.
 */
int sp_symbol_scan_table(struct sp_symbol_scan *scan, const struct sp_elf_file *file,
			 const struct sp_elf_table *table);

/* Is it a symbol that others see? */
bool sp_symbol_is_global(const struct sp_symbol_candidate *symbol);

/* Once, after the last table: settles the labels. */
void sp_symbol_scan_finish(struct sp_symbol_scan *scan);

/*
 * Which of two aliases names the function: negative when a is the better name,
 * positive when b is, 0 when they are the same.
 */
int sp_symbol_compare_aliases(const char *a, const char *b);

#endif
