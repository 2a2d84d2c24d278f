/*
 * Anonymous memory by raw system calls. Context: signal; keeps errno.
 */
#include "sp_pages.h"

#include "sp_syscall.h"

#include <sys/mman.h>

static void *map(size_t size_bytes, int protection, int sharing)
{
	long pages = sp_syscall6(SYS_mmap, 0, (long)size_bytes, protection,
				 sharing | MAP_ANONYMOUS, -1, 0);

	if (pages < 0 && pages > -4096)
		return NULL;
	sp_syscall3(SYS_madvise, pages, size_bytes, MADV_DONTDUMP);
	return (void *)pages;
}

void *sp_pages_map(size_t size_bytes)
{
	return map(size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
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
