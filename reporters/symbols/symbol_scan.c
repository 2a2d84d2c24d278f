/*
 * The pass over a symbol table. Runs on the reporter thread. Invariant: whatever
 * the table says, the work is bounded by a budget proportional to the number of
 * symbols plus the number of addresses, and no symbol covers more than the
 * executable section it starts in.
 */
#include "sp_symbol_scan.h"

#include "sp_heap.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#define SYMBOLS_WINDOW_BYTES ((size_t)65536)
#define ALIAS_NAME_BYTES ((size_t)1024)
/* For each address: most symbols then fall where there is none, and need no search. */
#define BUCKETS_AN_OFFSET 8U
#define BUCKETS_MIN UINT32_C(1024)
#define BUCKETS_MAX UINT32_C(65536)

/* Addresses a symbol may claim, on average, before the table counts as absurd. */
#define STEPS_PER_SYMBOL 16

#define RANK_IS_FUNCTION 0x80
#define RANK_GLOBAL 3
#define RANK_LOCAL 2
#define RANK_WEAK 1

/* State of one pass. */
struct pass {
	struct sp_symbol_scan *scan;
	const struct sp_elf_file *file;
	const struct sp_elf_table *table;
	const struct sp_elf_range *code; /* of the symbol before */
	uint64_t steps_left;
	uint8_t number;
	/* The last comparison of aliases: neighbouring addresses ask the same. */
	uint64_t compared_old, compared_new;
	int compared;
	char old_name[ALIAS_NAME_BYTES], new_name[ALIAS_NAME_BYTES];
};

int sp_symbol_scan_init(struct sp_symbol_scan *scan, const uint64_t *offsets,
			size_t count)
{
	uint64_t span = offsets[count - 1] - offsets[0];
	uint32_t next = 0;

	*scan = (struct sp_symbol_scan){.offsets = offsets, .count = count};
	if (count > UINT32_MAX)
		return -ENOMEM;
	scan->bucket_count = BUCKETS_MIN;
	while (scan->bucket_count / BUCKETS_AN_OFFSET < count &&
	       scan->bucket_count < BUCKETS_MAX)
		scan->bucket_count *= 2;
	while (span >> scan->bucket_shift >= scan->bucket_count)
		scan->bucket_shift++;
	scan->matches = sp_heap_zalloc(count * sizeof(*scan->matches));
	scan->bucket_first =
		sp_heap_alloc((scan->bucket_count + 1) * sizeof(*scan->bucket_first));
	if (!scan->matches || !scan->bucket_first) {
		sp_symbol_scan_fini(scan);
		return -ENOMEM;
	}
	for (uint32_t bucket = 0; bucket <= scan->bucket_count; bucket++) {
		while (next < count &&
		       (offsets[next] - offsets[0]) >> scan->bucket_shift < bucket)
			next++;
		scan->bucket_first[bucket] = next;
	}
	return 0;
}

void sp_symbol_scan_fini(struct sp_symbol_scan *scan)
{
	sp_heap_free(scan->matches);
	sp_heap_free(scan->bucket_first);
	scan->matches = NULL;
	scan->bucket_first = NULL;
}

/* Number of the first offset that is not below address. */
static size_t first_not_below(const struct sp_symbol_scan *scan, uint64_t address)
{
	uint64_t bucket;
	size_t low, high;

	if (address <= scan->offsets[0])
		return 0;
	bucket = (address - scan->offsets[0]) >> scan->bucket_shift;
	if (bucket >= scan->bucket_count)
		return scan->count;
	low = scan->bucket_first[bucket];
	high = scan->bucket_first[bucket + 1];
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (scan->offsets[middle] < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static size_t leading_underscores(const char *name)
{
	return strspn(name, "_");
}

/* "memcpy@GLIBC_2.2.5" is an old version kept for old programs, "@@" the one in use. */
static bool is_old_version(const char *name)
{
	const char *at = strchr(name, '@');

	return at && at != name && at[1] != '@';
}

int sp_symbol_compare_aliases(const char *a, const char *b)
{
	size_t a_length = strcspn(a, "@"), b_length = strcspn(b, "@");

	if (is_old_version(a) != is_old_version(b))
		return is_old_version(a) ? 1 : -1;
	if (leading_underscores(a) != leading_underscores(b))
		return leading_underscores(a) < leading_underscores(b) ? -1 : 1;
	if (a_length != b_length)
		return a_length < b_length ? -1 : 1;
	return strcmp(a, b);
}

static int compare_names(struct pass *pass, uint64_t old_name, uint64_t new_name)
{
	if (old_name == new_name)
		return 0;
	if (pass->compared_old == old_name && pass->compared_new == new_name)
		return pass->compared;
	pass->compared_old = old_name;
	pass->compared_new = new_name;
	if (!sp_elf_read_name(pass->file, pass->table, new_name, pass->new_name,
			      sizeof(pass->new_name)))
		pass->compared = -1;
	else if (!sp_elf_read_name(pass->file, pass->table, old_name, pass->old_name,
				   sizeof(pass->old_name)))
		pass->compared = 1;
	else
		pass->compared =
			sp_symbol_compare_aliases(pass->old_name, pass->new_name);
	return pass->compared;
}

/* Puts candidate in place of old if it is preferred; both are of one kind. */
static void offer(struct pass *pass, struct sp_symbol_candidate *old,
		  const struct sp_symbol_candidate *candidate)
{
	if (old->rank != 0) {
		if (old->start != candidate->start) {
			if (old->start > candidate->start)
				return;
		} else if (old->table != candidate->table) {
			return;
		} else if (old->rank != candidate->rank) {
			if (old->rank > candidate->rank)
				return;
		} else if (compare_names(pass, old->name_offset,
					 candidate->name_offset) <= 0) {
			return;
		}
	}
	*old = *candidate;
}

static uint8_t rank_of(const Elf64_Sym *symbol)
{
	uint8_t rank;

	switch (ELF64_ST_BIND(symbol->st_info)) {
	case STB_GLOBAL:
	case STB_GNU_UNIQUE:
		rank = RANK_GLOBAL;
		break;
	case STB_WEAK:
		rank = RANK_WEAK;
		break;
	default:
		rank = RANK_LOCAL;
		break;
	}
	switch (ELF64_ST_TYPE(symbol->st_info)) {
	case STT_FUNC:
	case STT_GNU_IFUNC:
		return rank | RANK_IS_FUNCTION;
	case STT_NOTYPE:
		return rank;
	default:
		return 0;
	}
}

bool sp_symbol_is_global(const struct sp_symbol_candidate *symbol)
{
	return (symbol->rank & ~RANK_IS_FUNCTION) == RANK_GLOBAL;
}

static void visit(struct pass *pass, const Elf64_Sym *symbol)
{
	struct sp_symbol_scan *scan = pass->scan;
	struct sp_symbol_candidate candidate = {
		.start = symbol->st_value,
		.name_offset = symbol->st_name,
		.rank = rank_of(symbol),
		.table = pass->number,
	};
	size_t first;

	if (candidate.rank == 0 || symbol->st_shndx == SHN_UNDEF ||
	    symbol->st_shndx == SHN_ABS || symbol->st_shndx == SHN_COMMON ||
	    symbol->st_name == 0 || symbol->st_name >= pass->table->strings_bytes)
		return;
	first = first_not_below(scan, candidate.start);
	if (first == scan->count)
		return;
	if (!pass->code || candidate.start < pass->code->start ||
	    candidate.start >= pass->code->end) {
		pass->code = sp_elf_code_around(pass->file, candidate.start);
		if (!pass->code)
			return;
	}
	/* A size that leaves its section is damage, and says nothing. */
	if (symbol->st_size > pass->code->end - candidate.start)
		return;
	candidate.end = candidate.start + symbol->st_size;

	/* A label belongs to all addresses from here to the next start; it is
	 * kept with the first of them until sp_symbol_scan_finish(). A symbol with
	 * a size displaces labels at and below it. */
	if (scan->matches[first].label.rank == 0 ||
	    scan->matches[first].label.start < candidate.start ||
	    (scan->matches[first].label.start == candidate.start && symbol->st_size > 0))
		scan->matches[first].label = candidate;
	else if (symbol->st_size == 0 &&
		 scan->matches[first].label.end == scan->matches[first].label.start)
		offer(pass, &scan->matches[first].label, &candidate);

	for (size_t i = first; i < scan->count && scan->offsets[i] < candidate.end; i++) {
		if (pass->steps_left == 0)
			return;
		pass->steps_left--;
		offer(pass, &scan->matches[i].covering, &candidate);
	}
}

int sp_symbol_scan_table(struct sp_symbol_scan *scan, const struct sp_elf_file *file,
			 const struct sp_elf_table *table)
{
	const uint64_t per_window = SYMBOLS_WINDOW_BYTES / sizeof(Elf64_Sym);
	uint64_t done = 1; /* symbol 0 is none */
	struct pass *pass;
	Elf64_Sym *symbols;

	pass = sp_heap_zalloc(sizeof(*pass));
	symbols = sp_heap_alloc(SYMBOLS_WINDOW_BYTES);
	if (!pass || !symbols) {
		sp_heap_free(pass);
		sp_heap_free(symbols);
		return -ENOMEM;
	}
	pass->scan = scan;
	pass->file = file;
	pass->table = table;
	pass->number = scan->table_count++;
	pass->steps_left = STEPS_PER_SYMBOL * (table->symbol_count + scan->count);

	while (done < table->symbol_count) {
		uint64_t wanted = table->symbol_count - done;
		long count;

		if (wanted > per_window)
			wanted = per_window;
		count = sp_elf_read(file, table->symbols_offset + done * sizeof(*symbols),
				    symbols, (size_t)wanted * sizeof(*symbols));
		if (count < (long)sizeof(*symbols))
			break;
		for (size_t i = 0; i < (size_t)count / sizeof(*symbols); i++)
			visit(pass, &symbols[i]);
		done += (size_t)count / sizeof(*symbols);
	}
	sp_heap_free(symbols);
	sp_heap_free(pass);
	return 0;
}

void sp_symbol_scan_finish(struct sp_symbol_scan *scan)
{
	const struct sp_symbol_candidate *last = NULL;
	static const struct sp_symbol_candidate none;

	for (size_t i = 0; i < scan->count; i++) {
		struct sp_symbol_candidate *label = &scan->matches[i].label;

		if (label->rank == 0 && last)
			*label = *last;
		last = label;
	}
	for (size_t i = 0; i < scan->count; i++) {
		struct sp_symbol_candidate *label = &scan->matches[i].label;

		if (label->end != label->start || scan->matches[i].covering.rank != 0)
			*label = none;
	}
}
