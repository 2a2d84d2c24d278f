/*
 * What naming addresses costs: for each file, 5,000 addresses drawn from its
 * executable sections are resolved, as when a profile is written. Prints a table
 * and judges nothing.
 *
 *   bench_symbols [FILE ...]
 */
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_elf_file.h"
#include "sp_symbols.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define ADDRESSES ((size_t)5000)
#define ROUNDS 7

static uint64_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 20;
}

static int compare_queries(const void *a, const void *b)
{
	uint64_t left = ((const struct sp_symbol_query *)a)->offset;
	uint64_t right = ((const struct sp_symbol_query *)b)->offset;

	return left < right ? -1 : left > right;
}

static void draw(const struct sp_elf_file *file, struct sp_symbol_query *queries)
{
	uint64_t code_bytes = 0, state = 42;

	for (uint32_t i = 0; i < file->code_count; i++)
		code_bytes += file->code[i].end - file->code[i].start;
	for (size_t i = 0; i < ADDRESSES; i++) {
		uint64_t at = code_bytes ? next_random(&state) % code_bytes : 0;
		uint32_t range = 0;

		while (range + 1 < file->code_count &&
		       at >= file->code[range].end - file->code[range].start) {
			at -= file->code[range].end - file->code[range].start;
			range++;
		}
		queries[i].offset = file->code[range].start + at;
	}
	qsort(queries, ADDRESSES, sizeof(*queries), compare_queries);
}

static void measure(const char *path)
{
	static struct sp_symbol_query queries[ADDRESSES];
	struct sp_view_module module = {.id = 1, .path = path};
	struct sp_elf_file file;
	uint64_t best_ns = UINT64_MAX, symbol_count;
	size_t named = 0, starts = 0;
	struct rusage usage;

	if (sp_elf_open(&file, path) != 0 || file.code_count == 0) {
		printf("%-52s (not an ELF file)\n", path);
		return;
	}
	symbol_count = file.symtab.symbol_count + file.dynsym.symbol_count;
	draw(&file, queries);
	sp_elf_close(&file);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start_ns = sp_clock_monotonic_ns(), took_ns;
		struct sp_symbols *symbols = sp_symbols_create();

		if (!symbols ||
		    sp_symbols_resolve(symbols, &module, queries, ADDRESSES)) {
			printf("%-52s (failed)\n", path);
			sp_symbols_destroy(symbols);
			return;
		}
		named = 0;
		starts = 0;
		for (size_t i = 0; i < ADDRESSES; i++) {
			if (!strstr(queries[i].name, "+0x"))
				named++;
			else if (queries[i].start_offset != queries[i].offset)
				starts++;
		}
		sp_symbols_destroy(symbols);
		took_ns = sp_clock_monotonic_ns() - start_ns;
		if (took_ns < best_ns)
			best_ns = took_ns;
	}
	getrusage(RUSAGE_SELF, &usage);
	printf("%-52s %8lu %9zu %8.2f %8.1f %8.1f %8ld\n", path,
	       (unsigned long)symbol_count, ADDRESSES, (double)best_ns / 1e6,
	       100.0 * (double)named / ADDRESSES, 100.0 * (double)starts / ADDRESSES,
	       usage.ru_maxrss);
}

int main(int argc, char **argv)
{
	static const char *const usual[] = {
		"/usr/bin/redis-server",
		"/lib/x86_64-linux-gnu/libc.so.6",
		"/usr/bin/node",
		"/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so",
	};

	printf("%-52s %8s %9s %8s %8s %8s %8s\n", "file", "symbols", "addresses", "ms",
	       "named %", "by FDE %", "peak KB");
	if (argc > 1)
		for (int i = 1; i < argc; i++)
			measure(argv[i]);
	else
		for (size_t i = 0; i < SP_ARRAY_COUNT(usual); i++)
			measure(usual[i]);
	return 0;
}
