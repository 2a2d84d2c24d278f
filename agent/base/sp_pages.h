/*
 * Anonymous pages straight from the kernel, for code that may not use a heap.
 */
#ifndef SP_PAGES_H
#define SP_PAGES_H

#include <stddef.h>
#include <stdint.h>

#define SP_PAGE_BYTES ((size_t)4096)
/* That the processor finds by one entry, where the kernel has put them together. */
#define SP_LARGE_PAGE_BYTES ((size_t)2 << 20)

/*
 * Context: signal. Zeroed private pages, or NULL. They are left out of core
 * dumps (MADV_DONTDUMP).
 */
void *sp_pages_map(size_t size_bytes);

/* Context: signal. As sp_pages_map(), just there; NULL also when something is there. */
void *sp_pages_map_at(uint64_t address, size_t size_bytes);

/* Context: signal. As sp_pages_map(), at a multiple of alignment_bytes, a power of two;
 * so much more address space is taken for a moment. */
void *sp_pages_map_aligned(size_t size_bytes, size_t alignment_bytes);

/* Context: signal. As sp_pages_map(), but a fork child shares them, and they do not count
 * against the program's limit on data: for a stack while it is used. */
void *sp_pages_map_stack(size_t size_bytes);

/*
 * Context: signal. Addresses without memory, or NULL: what is to be touched is opened
 * first. Only that counts against the program's limit on data, and only that is
 * filled by mlockall(). Left out of core dumps.
 */
void *sp_pages_reserve(size_t size_bytes);

/* Context: signal. Whole pages of a reservation, zeroed when they are opened first; again
 * is nothing. 0, or -ENOMEM. */
int sp_pages_open(void *pages, size_t size_bytes);

/* Context: signal. */
void sp_pages_unmap(void *pages, size_t size_bytes);

#endif
