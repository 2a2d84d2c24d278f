/*
 * Puts the parts together: which files speak for a module, the scan of their
 * tables, function starts for what stays unnamed, readable names. Runs on the
 * reporter thread. Invariant: every query leaves with a name and a start.
 */
#include "sp_symbols.h"

#include "sp_debug_file.h"
#include "sp_demangle.h"
#include "sp_fde_start.h"
#include "sp_heap.h"
#include "sp_perf_map.h"
#include "sp_symbol_names.h"
#include "sp_symbol_scan.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/auxv.h>

#define NAME_BYTES ((size_t)8192)
#define TABLES_MAX 3
/* The whole vDSO on x86-64, for when the mapping's own size is not known. */
#define VDSO_BYTES UINT64_C(8192)

struct sp_symbols {
	struct sp_symbol_names names;
	struct sp_perf_map *perf_map; /* made when first needed */
	const char *debug_root;
	const char *perf_map_directory;
	char raw[NAME_BYTES];
	char readable[SP_DEMANGLE_OUTPUT_BYTES];
};

/* One module's files while its addresses are named. */
struct work {
	struct sp_elf_file own, debug;
	bool has_own, has_debug;
	struct sp_symbol_scan scan;
	/* By number of the scan. */
	const struct sp_elf_file *table_files[TABLES_MAX];
	const struct sp_elf_table *tables[TABLES_MAX];
	uint64_t *offsets, *starts;
	bool *is_unnamed;
	bool are_queries_named; /* each by the best that memory allowed */
	char path[PATH_MAX];
};

struct sp_symbols *sp_symbols_create(void)
{
	struct sp_symbols *symbols = sp_heap_zalloc(sizeof(*symbols));

	if (!symbols)
		return NULL;
	sp_symbol_names_init(&symbols->names);
	symbols->debug_root = SP_DEBUG_ROOT;
	symbols->perf_map_directory = "/tmp";
	return symbols;
}

void sp_symbols_destroy(struct sp_symbols *symbols)
{
	if (!symbols)
		return;
	sp_perf_map_destroy(symbols->perf_map);
	sp_symbol_names_fini(&symbols->names);
	sp_heap_free(symbols);
}

void sp_symbols_set_places(struct sp_symbols *symbols, const char *debug_root,
			   const char *perf_map_directory)
{
	if (debug_root)
		symbols->debug_root = debug_root;
	if (perf_map_directory)
		symbols->perf_map_directory = perf_map_directory;
}

/* Can another file be told from the one that ran? */
static bool is_known(const struct sp_view_module *module)
{
	return module->build_id_bytes > 0 || module->fingerprint != 0;
}

static bool is_the_one(const struct sp_elf_file *file,
		       const struct sp_view_module *module)
{
	if (module->build_id_bytes > 0)
		return sp_elf_has_build_id(file, module->build_id,
					   module->build_id_bytes);
	return module->fingerprint == 0 ||
	       sp_elf_has_fingerprint(file, module->fingerprint);
}

/* The vDSO is no file; every process of one kernel has the same. */
static int open_vdso(struct sp_elf_file *file, const struct sp_view_module *module)
{
	uint64_t address = getauxval(AT_SYSINFO_EHDR);
	uint64_t size_bytes = VDSO_BYTES;
	int err;

	if (address == 0)
		return -ENOENT;
	if (module->text_start == address && module->text_end > address)
		size_bytes = module->text_end - address;
	err = sp_elf_open_memory(file, address, size_bytes);
	if (err)
		return err;
	if (is_the_one(file, module) &&
	    (module->build_id_bytes > 0 ||
	     (file->segment_count > 0 &&
	      module->base + file->segments[0].address == address)))
		return 0;
	sp_elf_close(file);
	return -ENOENT;
}

/*
 * The file under the module's name, or what was there before it was replaced.
 */
static int open_by_path(struct work *work, const struct sp_view_module *module)
{
	static const char deleted[] = " (deleted)";
	size_t length = module->path ? strlen(module->path) : 0;
	int err;

	if (length == 0 || module->path[0] != '/' || length >= sizeof(work->path))
		return -ENOENT;
	memcpy(work->path, module->path, length + 1);
	err = sp_elf_open(&work->own, work->path);
	if (err == -ENOENT && is_known(module) && length > sizeof(deleted) - 1 &&
	    strcmp(work->path + length - (sizeof(deleted) - 1), deleted) == 0) {
		/* Replaced while it ran, perhaps by the very same build. */
		work->path[length - (sizeof(deleted) - 1)] = '\0';
		err = sp_elf_open(&work->own, work->path);
	}
	if (!err && !is_the_one(&work->own, module)) {
		sp_elf_close(&work->own);
		err = -ENOENT;
	}
	return err;
}

/* What this process runs, though the file was replaced or removed: the program's can
 * still be opened, of a library there is what is in memory. */
static int open_running(struct sp_elf_file *file, const struct sp_view_module *module)
{
	int err;

	if (module->is_main)
		err = sp_elf_open_program(file);
	else
		err = sp_elf_open_image(file, module->base);
	/* In another process, which recovers a recording, it is something else. */
	if (!err && !is_the_one(file, module)) {
		sp_elf_close(file);
		err = -ENOENT;
	}
	return err;
}

static int open_own(struct work *work, const struct sp_view_module *module)
{
	int err;

	if (module->is_vdso)
		return open_vdso(&work->own, module);
	err = open_by_path(work, module);
	if (err && is_known(module))
		err = open_running(&work->own, module);
	return err;
}

static int open_debug(struct sp_symbols *symbols, struct work *work,
		      const struct sp_view_module *module)
{
	struct sp_debug_wanted wanted = {
		.path = work->path,
		.build_id = module->build_id,
		.build_id_bytes = module->build_id_bytes,
		.link = "",
	};

	if (module->is_vdso)
		return -ENOENT;
	if (work->has_own) {
		wanted.build_id = work->own.build_id;
		wanted.build_id_bytes = work->own.build_id_bytes;
		wanted.link = work->own.debug_link;
		wanted.link_crc = work->own.debug_link_crc;
	}
	return sp_debug_file_open(&work->debug, symbols->debug_root, &wanted);
}

static int scan_table(struct work *work, struct sp_elf_file *file,
		      struct sp_elf_table *table)
{
	if (table->symbol_count == 0)
		return 0;
	sp_elf_keep_names(file, table, work->scan.count);
	work->table_files[work->scan.table_count] = file;
	work->tables[work->scan.table_count] = table;
	return sp_symbol_scan_table(&work->scan, file, table);
}

/* Richest first: at equal starts, an earlier table's symbol stays. All are always
 * scanned, or a name would depend on which other addresses are asked for. */
static int scan_tables(struct work *work)
{
	int err = 0;

	if (work->has_debug)
		err = scan_table(work, &work->debug, &work->debug.symtab);
	if (!err && work->has_own)
		err = scan_table(work, &work->own, &work->own.symtab);
	if (!err && work->has_own)
		err = scan_table(work, &work->own, &work->own.dynsym);
	sp_symbol_scan_finish(&work->scan);
	return err;
}

static int find_starts(struct work *work)
{
	const struct sp_symbol_match *matches = work->scan.matches;

	for (size_t i = 0; i < work->scan.count; i++) {
		work->is_unnamed[i] = matches[i].covering.rank == 0;
		work->starts[i] = SP_FDE_NONE;
	}
	if (!work->has_own)
		return 0;
	return sp_fde_find_starts(&work->own, work->offsets, work->is_unnamed,
				  work->scan.count, work->starts);
}

static bool name_by_symbol(struct sp_symbols *symbols, const struct work *work,
			   const struct sp_symbol_candidate *symbol,
			   struct sp_symbol_query *query)
{
	const char *name, *system_name;
	size_t length, readable_length;

	if (!sp_elf_read_name(work->table_files[symbol->table],
			      work->tables[symbol->table], symbol->name_offset,
			      symbols->raw, sizeof(symbols->raw)))
		return false;
	/* "memcpy@@GLIBC_2.14": .dynsym keeps the version apart, so do we. */
	length = strlen(symbols->raw);
	if (memchr(symbols->raw + 1, '@', length - 1))
		length = strcspn(symbols->raw + 1, "@") + 1;
	symbols->raw[length] = '\0';
	system_name = sp_symbol_names_intern(&symbols->names, symbols->raw, length);
	if (!system_name)
		return false;
	readable_length = sp_demangle(symbols->raw, symbols->readable);
	name = readable_length
		       ? sp_symbol_names_intern(&symbols->names, symbols->readable,
						readable_length)
		       : system_name;
	if (!name)
		return false;
	query->name = name;
	query->system_name = system_name;
	query->start_offset = symbol->start;
	return true;
}

static int name_by_offset(struct sp_symbols *symbols, const struct sp_view_module *module,
			  uint64_t start, struct sp_symbol_query *query)
{
	const char *path = module->is_vdso ? "[vdso]" : module->path;
	const char *name = sp_symbol_names_offset(&symbols->names, path, start);

	query->start_offset = start;
	query->name = name ? name : SP_SYMBOL_NO_NAME;
	query->system_name = query->name;
	return name ? 0 : -ENOMEM;
}

/*
 * What the program calls of us stands in front of a function by that name, and so does
 * the allocator that we may bring (sp_je_malloc); of what is behind nobody else knows.
 */
static int name_hook(struct sp_symbols *symbols, const struct sp_symbol_candidate *symbol,
		     struct sp_symbol_query *query)
{
	static const char allocator[] = "sp_je_", nameless[] = "[spanprof hook]";
	const char *name = nameless;

	if (symbol && strncmp(query->name, allocator, sizeof(allocator) - 1) == 0)
		name = query->name + sizeof(allocator) - 1;
	else if (symbol && sp_symbol_is_global(symbol))
		return 0;
	name = sp_symbol_names_intern(&symbols->names, name, strlen(name));
	if (!name)
		return -ENOMEM;
	query->name = name;
	query->system_name = name;
	return 0;
}

/* The symbol that names offset number i, or NULL. A symbol without a size names
 * only the function that starts with it. */
static const struct sp_symbol_candidate *naming_symbol(const struct work *work, size_t i)
{
	const struct sp_symbol_match *match = &work->scan.matches[i];

	if (match->covering.rank != 0)
		return &match->covering;
	if (match->label.rank != 0 && match->label.start == work->starts[i])
		return &match->label;
	return NULL;
}

static int name_queries(struct sp_symbols *symbols, const struct work *work,
			const struct sp_view_module *module,
			struct sp_symbol_query *queries, size_t count)
{
	const struct sp_symbol_candidate *before = NULL;
	const struct sp_symbol_query *neighbour = queries;
	int err = 0;

	for (size_t i = 0; i < count; neighbour = &queries[i++]) {
		const struct sp_symbol_candidate *symbol = naming_symbol(work, i);
		uint64_t start = work->starts[i] == SP_FDE_NONE ? queries[i].offset
								: work->starts[i];
		int failed = 0;

		/* Neighbours are mostly in the same function. */
		if (symbol && before && before->name_offset == symbol->name_offset &&
		    before->table == symbol->table && before->start == symbol->start) {
			queries[i].name = neighbour->name;
			queries[i].system_name = neighbour->system_name;
			queries[i].start_offset = neighbour->start_offset;
			continue;
		}
		before = symbol;
		if (!symbol || !name_by_symbol(symbols, work, symbol, &queries[i])) {
			before = NULL;
			failed = name_by_offset(symbols, module, start, &queries[i]);
		}
		if (module->is_agent && !failed)
			failed = name_hook(symbols, before, &queries[i]);
		if (failed)
			err = failed;
	}
	return err;
}

static int name_all_by_offset(struct sp_symbols *symbols,
			      const struct sp_view_module *module,
			      struct sp_symbol_query *queries, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count; i++)
		if (name_by_offset(symbols, module, queries[i].offset, &queries[i]))
			err = -ENOMEM;
	return err;
}

static int resolve_with(struct sp_symbols *symbols, struct work *work,
			const struct sp_view_module *module,
			struct sp_symbol_query *queries, size_t count)
{
	int err;

	work->offsets = sp_heap_alloc(count * sizeof(*work->offsets));
	work->starts = sp_heap_alloc(count * sizeof(*work->starts));
	work->is_unnamed = sp_heap_alloc(count * sizeof(*work->is_unnamed));
	if (!work->offsets || !work->starts || !work->is_unnamed)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		work->offsets[i] = queries[i].offset;
		if (i > 0 && queries[i].offset < queries[i - 1].offset)
			return -EINVAL;
	}
	work->has_own = open_own(work, module) == 0;
	work->has_debug = open_debug(symbols, work, module) == 0;
	err = sp_symbol_scan_init(&work->scan, work->offsets, count);
	if (err)
		return err;
	err = scan_tables(work);
	if (!err)
		err = find_starts(work);
	if (err)
		return err;
	work->are_queries_named = true;
	return name_queries(symbols, work, module, queries, count);
}

int sp_symbols_resolve(struct sp_symbols *symbols, const struct sp_view_module *module,
		       struct sp_symbol_query *queries, size_t count)
{
	struct work *work;
	int err;

	if (count == 0)
		return 0;
	work = sp_heap_zalloc(sizeof(*work));
	if (!work) {
		name_all_by_offset(symbols, module, queries, count);
		return -ENOMEM;
	}
	err = resolve_with(symbols, work, module, queries, count);
	if (!work->are_queries_named)
		name_all_by_offset(symbols, module, queries, count);
	if (work->has_own)
		sp_elf_close(&work->own);
	if (work->has_debug)
		sp_elf_close(&work->debug);
	sp_symbol_scan_fini(&work->scan);
	sp_heap_free(work->offsets);
	sp_heap_free(work->starts);
	sp_heap_free(work->is_unnamed);
	sp_heap_free(work);
	return err;
}

const char *sp_symbols_resolve_jit(struct sp_symbols *symbols, int pid, uint64_t address)
{
	size_t length;

	if (!symbols->perf_map)
		symbols->perf_map = sp_perf_map_create(symbols->perf_map_directory);
	if (!symbols->perf_map ||
	    !sp_perf_map_find(symbols->perf_map, pid, address, symbols->raw))
		return NULL;
	length = sp_demangle(symbols->raw, symbols->readable);
	if (length > 0)
		return sp_symbol_names_intern(&symbols->names, symbols->readable, length);
	return sp_symbol_names_intern(&symbols->names, symbols->raw,
				      strlen(symbols->raw));
}
