/*
 * A second opinion on what heap_truth allocates: preloaded instead of the agent, it
 * sees every call of the allocator, also those from inside of the C library, and books
 * it on the site that the calling thread says it is in. Slow and simple: one lock, one
 * table from address to block.
 */
#include "heap_oracle.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCKS_BITS 20
#define BLOCKS (UINT64_C(1) << BLOCKS_BITS)

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);
extern void *__libc_valloc(size_t bytes);
extern void *__libc_pvalloc(size_t bytes);
extern void __libc_free(void *block);

struct block {
	uintptr_t address; /* 0: no block */
	uint64_t bytes : 48, site : 16;
};

static struct block blocks[BLOCKS];
static struct heap_site_rows sites[HEAP_ORACLE_SITES];
static uint64_t allocations, frees, bytes_allocated, live_bytes, peak_bytes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread unsigned own_site __attribute__((tls_model("initial-exec")));

static uint64_t place_of(uintptr_t address)
{
	return address * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BLOCKS_BITS);
}

static struct block *find(uintptr_t address)
{
	uint64_t i = place_of(address);

	while (blocks[i].address != 0 && blocks[i].address != address)
		i = (i + 1) % BLOCKS;
	return &blocks[i];
}

/* What stood behind moves up: no mark of the removed stays. */
static void take_out(struct block *block)
{
	uint64_t hole = (uint64_t)(block - blocks), i = hole;

	for (;;) {
		uint64_t from_home, from_hole;

		i = (i + 1) % BLOCKS;
		if (blocks[i].address == 0)
			break;
		from_home = (i - place_of(blocks[i].address)) % BLOCKS;
		from_hole = (i - hole) % BLOCKS;
		if (from_home >= from_hole) {
			blocks[hole] = blocks[i];
			hole = i;
		}
	}
	blocks[hole].address = 0;
}

static void *book(void *address, size_t bytes)
{
	struct block *block;

	if (address == NULL)
		return NULL;
	pthread_mutex_lock(&lock);
	block = find((uintptr_t)address);
	block->address = (uintptr_t)address;
	block->bytes = bytes & ((UINT64_C(1) << 48) - 1);
	block->site = own_site & 0xffff;
	heap_site_count(&sites[own_site], bytes, 1, 1);
	allocations++;
	bytes_allocated += bytes;
	live_bytes += bytes;
	if (live_bytes > peak_bytes)
		peak_bytes = live_bytes;
	pthread_mutex_unlock(&lock);
	return address;
}

static void unbook(void *address)
{
	struct block *block;

	pthread_mutex_lock(&lock);
	block = find((uintptr_t)address);
	/* The loader's own blocks of before are not known. */
	if (block->address != 0) {
		heap_site_count(&sites[block->site], block->bytes, 0, -1);
		frees++;
		live_bytes -= block->bytes;
		take_out(block);
	}
	pthread_mutex_unlock(&lock);
}

void heap_oracle_enter(unsigned site)
{
	own_site = site;
}

void heap_oracle_mark_peak(void)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < HEAP_ORACLE_SITES; i++)
		heap_site_mark_peak(&sites[i]);
	pthread_mutex_unlock(&lock);
}

void heap_oracle_tell(void)
{
	for (unsigned i = 1; i < HEAP_ORACLE_SITES; i++)
		heap_site_tell("oracle ", i, &sites[i]);
	printf("oracle_allocations=%llu\noracle_frees=%llu\noracle_bytes=%llu\n"
	       "oracle_peak_bytes=%llu\n",
	       (unsigned long long)allocations, (unsigned long long)frees,
	       (unsigned long long)bytes_allocated, (unsigned long long)peak_bytes);
}

void *malloc(size_t bytes)
{
	return book(__libc_malloc(bytes), bytes);
}

void *calloc(size_t count, size_t bytes)
{
	return book(__libc_calloc(count, bytes), count * bytes);
}

void free(void *address)
{
	if (address != NULL)
		unbook(address);
	__libc_free(address);
}

/* The old block is gone before its address can be another thread's. */
void *realloc(void *old, size_t bytes)
{
	struct block before = {0}, *block;
	void *address;

	if (old == NULL)
		return malloc(bytes);
	if (bytes == 0) {
		free(old);
		return NULL;
	}
	pthread_mutex_lock(&lock);
	block = find((uintptr_t)old);
	if (block->address != 0) {
		before = *block;
		take_out(block);
	}
	pthread_mutex_unlock(&lock);
	address = __libc_realloc(old, bytes);
	pthread_mutex_lock(&lock);
	if (before.address != 0 && address == NULL) {
		*find((uintptr_t)old) = before;
	} else if (before.address != 0) {
		heap_site_count(&sites[before.site], before.bytes, 0, -1);
		frees++;
		live_bytes -= before.bytes;
	}
	pthread_mutex_unlock(&lock);
	return book(address, bytes);
}

void *reallocarray(void *old, size_t count, size_t bytes)
{
	size_t product;

	if (__builtin_mul_overflow(count, bytes, &product)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, product);
}

void *memalign(size_t alignment, size_t bytes)
{
	return book(__libc_memalign(alignment, bytes), bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
	return memalign(alignment, bytes);
}

void *valloc(size_t bytes)
{
	return book(__libc_valloc(bytes), bytes);
}

int posix_memalign(void **address, size_t alignment, size_t bytes)
{
	int before = errno;
	void *block;

	if (alignment % sizeof(void *) != 0 || alignment == 0 ||
	    (alignment & (alignment - 1)) != 0)
		return EINVAL;
	block = memalign(alignment, bytes);
	errno = before;
	if (block == NULL)
		return ENOMEM;
	*address = block;
	return 0;
}

/* The C library makes whole pages of it; what was asked for counts. */
void *pvalloc(size_t bytes)
{
	return book(__libc_pvalloc(bytes), bytes);
}
