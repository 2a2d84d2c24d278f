/*
 * Where every block is sampled, a program that frees blocks in another order than it
 * allocated them meets the entries of the live table in any order: on most frees the
 * processor does not know the page either, and finds it slower than the entry itself. So
 * what a table has of whole large pages is put together into such. For the kernel that is
 * a copy, which costs as much as it spares within a few uses of each entry, so it waits
 * until the entries were used as often as that: who fills a table only once pays nothing.
 * Storage stays the same. Where the kernel cannot (before Linux 6.1, or as there is none
 * free), pages stay as they are. Context: collector.
 */
#include "heap_live.h"

#include "sp_pages.h"
#include "sp_syscall.h"

#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* About what a page costs, in frees for each of its entries. */
#define USES_A_BLOCK 2U
/* Whoever needs one of the pages meanwhile waits: not for many in a row. */
#define PAGES_A_ROUND 4U

/* Where the next one may begin; 0: at the begin of the table. */
static _Atomic uint64_t next_page;

void sp_heap_large_pages_begin(void)
{
	atomic_store_explicit(&next_page, 0, memory_order_relaxed);
}

bool sp_heap_capture_wants_large_pages(void)
{
	return sp_heap_global.is_exact;
}

/* About: what threads that are gone freed is forgotten. */
static uint64_t frees_so_far(void)
{
	uint32_t count;
	const struct sp_heap_thread *threads = sp_heap_threads(&count);
	uint64_t frees = 0;

	for (uint32_t i = 0; i < count; i++)
		frees += __atomic_load_n(&threads[i].frees, __ATOMIC_RELAXED);
	return frees;
}

void sp_heap_capture_make_large_pages(const struct sp_recording *recording)
{
	uint64_t blocks = sp_recording_used(recording, SP_SECTION_LIVE_BLOCKS);
	struct sp_live_block *table;
	uint64_t page, end;

	if (!sp_heap_global.is_exact || frees_so_far() / USES_A_BLOCK < blocks)
		return;
	table = sp_recording_item(recording, SP_SECTION_LIVE_BLOCKS, 0);
	end = (uintptr_t)(table + blocks);
	page = atomic_load_explicit(&next_page, memory_order_relaxed);
	if (!page)
		page = SP_ROUND_UP((uintptr_t)table, SP_LARGE_PAGE_BYTES);
	for (uint32_t i = 0; i < PAGES_A_ROUND && page + SP_LARGE_PAGE_BYTES <= end;
	     i++) {
		/* Pages of a recording are kept small otherwise. */
		sp_syscall3(SYS_madvise, page, SP_LARGE_PAGE_BYTES, MADV_HUGEPAGE);
		sp_syscall3(SYS_madvise, page, SP_LARGE_PAGE_BYTES, MADV_COLLAPSE);
		page += SP_LARGE_PAGE_BYTES;
	}
	atomic_store_explicit(&next_page, page, memory_order_relaxed);
}
