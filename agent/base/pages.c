/*
 * Anonymous memory by raw system calls. Context: signal; keeps errno.
 */
#include "sp_pages.h"

#include "sp_compiler.h"
#include "sp_syscall.h"

#include <stdint.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17; to older ones a hint */
#endif

static void *map_near(uint64_t address, size_t size_bytes, int protection, int flags)
{
	long pages = sp_syscall6(SYS_mmap, (long)address, (long)size_bytes, protection,
				 flags | MAP_ANONYMOUS, -1, 0);

	if (pages < 0 && pages > -4096)
		return NULL;
	sp_syscall3(SYS_madvise, pages, size_bytes, MADV_DONTDUMP);
	return (void *)pages;
}

static void *map(size_t size_bytes, int protection, int sharing)
{
	return map_near(0, size_bytes, protection, sharing);
}

void *sp_pages_map_at(uint64_t address, size_t size_bytes)
{
	void *pages = map_near(address, size_bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_FIXED_NOREPLACE);

	if (!pages || (uint64_t)(uintptr_t)pages == address)
		return pages;
	sp_pages_unmap(pages, size_bytes);
	return NULL;
}

void *sp_pages_map(size_t size_bytes)
{
	return map(size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

void *sp_pages_map_aligned(size_t size_bytes, size_t alignment_bytes)
{
	char *reserved, *pages;
	size_t before;

	/* The kernel unmaps whole pages only. */
	size_bytes = SP_ROUND_UP(size_bytes, SP_PAGE_BYTES);
	reserved = sp_pages_reserve(size_bytes + alignment_bytes);
	if (!reserved)
		return NULL;
	before = -(uintptr_t)reserved & (alignment_bytes - 1);
	pages = reserved + before;
	if (before)
		sp_pages_unmap(reserved, before);
	sp_pages_unmap(pages + size_bytes, alignment_bytes - before);
	if (sp_pages_open(pages, size_bytes) == 0)
		return pages;
	sp_pages_unmap(pages, size_bytes);
	return NULL;
}

void *sp_pages_map_stack(size_t size_bytes)
{
	return map(size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE);
}

void *sp_pages_reserve(size_t size_bytes)
{
	return map(size_bytes, PROT_NONE, MAP_PRIVATE);
}

int sp_pages_open(void *pages, size_t size_bytes)
{
	return (int)sp_syscall3(SYS_mprotect, pages, size_bytes, PROT_READ | PROT_WRITE);
}

void sp_pages_unmap(void *pages, size_t size_bytes)
{
	if (pages)
		sp_syscall2(SYS_munmap, pages, size_bytes);
}
