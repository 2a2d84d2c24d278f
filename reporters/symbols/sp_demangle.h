/*
 * Readable names for C++ and Rust symbols, without parameter lists and
 * without memory: libiberty prints into a buffer of ours through its callbacks.
 *
 * Context of everything here: collector. The stack used grows with how deeply
 * the name nests: up to 16 KiB for names that compilers make of ordinary code, up
 * to 512 KiB for the worst name of SP_DEMANGLE_INPUT_BYTES_MAX bytes.
 */
#ifndef SP_DEMANGLE_H
#define SP_DEMANGLE_H

#include <stdbool.h>
#include <stddef.h>

/* Longer mangled names are left as they are; libiberty's own limit for C++. */
#define SP_DEMANGLE_INPUT_BYTES_MAX 1024
/* Longer readable names are cut and end in "...". */
#define SP_DEMANGLE_OUTPUT_BYTES 4096

/*
 * Writes the readable form and returns its length; 0 when name is not a mangled
 * name or cannot be read. out has SP_DEMANGLE_OUTPUT_BYTES bytes.
 */
size_t sp_demangle(const char *name, char *out);

/*
 * true when a Rust v0 name certainly has no identifier in Punycode: those few
 * names libiberty can only decode with memory from the host's heap.
 */
bool sp_rust_v0_is_plain(const char *name);

#endif
