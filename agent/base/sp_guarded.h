/*
 * Memory of this process that may be unmapped at any moment, such as the image of
 * a library that another thread closes: every access goes through the kernel, so
 * that it fails and never faults.
 */
#ifndef SP_GUARDED_H
#define SP_GUARDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Context: hook. One system call; keeps errno. True when all of it was read. */
bool sp_guarded_read(uint64_t address, void *buffer, size_t size_bytes);

#define SP_GUARDED_PIECES_MAX 64

/*
 * Context: collector, init. The same size_bytes at each of count <=
 * SP_GUARDED_PIECES_MAX addresses, one after the other in buffer, in one system call.
 * True when all of it was read.
 */
bool sp_guarded_read_pieces(const uint64_t *addresses, uint32_t count, void *buffer,
			    size_t size_bytes);

/*
 * Context: signal. The pieces, one after the other in buffer, in one system call: true
 * when all of them were read. Unlike the others it opens no file where a sandbox
 * forbids that call, as the program may count on the numbers of its own.
 */
bool sp_guarded_gather(const struct iovec *pieces, uint32_t count, void *buffer);

/*
 * Context: collector, init. Stores value, an address of user space, at an aligned
 * address: other threads see the old value or the new. 0, -EFAULT when nothing
 * writable is there, or the error of a kernel that refuses.
 */
int sp_guarded_store(uint64_t address, uint64_t value);

#endif
