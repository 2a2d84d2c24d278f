/*
 * libFuzzer target: any bytes as an ELF file, resolved at addresses all over it.
 *
 *   clang -fsanitize=fuzzer,address,undefined ... fuzz_elf_symbols.c
 *
 * Start it with small ELF files as corpus; from nothing it would have to find the
 * header first.
 */
#include "sp_symbols.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ADDRESSES ((size_t)64)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static int file_fd = -1;
static char file_path[64];

static void open_file(void)
{
	file_fd = memfd_create("elf", MFD_CLOEXEC);
	if (file_fd < 0)
		abort();
	snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct sp_view_module module = {.id = 1, .path = file_path};
	struct sp_symbol_query queries[ADDRESSES];
	struct sp_symbols *symbols;

	if (file_fd < 0)
		open_file();
	if (ftruncate(file_fd, 0) != 0 ||
	    pwrite(file_fd, data, size_bytes, 0) != (ssize_t)size_bytes)
		return 0;
	symbols = sp_symbols_create();
	if (!symbols)
		return 0;
	sp_symbols_set_places(symbols, "/nonexistent", "/nonexistent");
	for (size_t i = 0; i < ADDRESSES; i++)
		queries[i].offset = size_bytes * i / (ADDRESSES - 1);
	sp_symbols_resolve(symbols, &module, queries, ADDRESSES);
	for (size_t i = 0; i < ADDRESSES; i++)
		if (!queries[i].name || !queries[i].system_name ||
		    queries[i].start_offset > queries[i].offset)
			abort();
	sp_symbols_destroy(symbols);
	return 0;
}
