/*
 * The mmap() and munmap() of the private jemalloc, which gets nothing from sbrk(). Where
 * it serves the program they cut pieces from one range of reserved addresses, one behind
 * the other; what is given back stays reserved, for a mapping of somebody else's in there
 * would be taken for jemalloc's. (jemalloc itself uses its addresses again, so little is
 * ever given back.) The range has no memory and costs nothing until it is used.
 * Context: hook.
 */
#include "jemalloc_memory.h"

#include "sp_alloc_jemalloc.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/types.h>

/* What jemalloc wants its larger pieces aligned to. */
#define HUGE_PAGE_BYTES ((size_t)2 << 20)
/* Not MAP_NORESERVE: memory that is made of it later is to be refused where there cannot
 * be so much, as the C library's would be. */
#define RESERVED_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS)

/* These names are put into the archive for mmap and so on. */
void *sp_je_mmap(void *address, size_t size_bytes, int protection, int flags, int fd,
		 off_t offset);
int sp_je_munmap(void *address, size_t size_bytes);
int sp_je_madvise(void *address, size_t size_bytes, int advice);
void *sp_je_no_break(intptr_t bytes);

struct sp_alloc_jemalloc sp_alloc_jemalloc;

static _Atomic size_t cut_bytes;

/*
 * For the moment when the kernel first refuses memory: a thread may be in its first
 * call then, which jemalloc does not live through without. Mapped, not touched.
 */
#define SPARE_BYTES ((size_t)16 << 20)
static uintptr_t spare;
static _Atomic size_t spare_used_bytes;

static bool is_error(long result)
{
	return result < 0 && result > -4096;
}

static bool cut(size_t size_bytes, size_t *begin_bytes)
{
	size_t alignment_bytes =
		size_bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : SP_PAGE_BYTES;
	size_t used_bytes = atomic_load_explicit(&cut_bytes, memory_order_relaxed);

	do {
		*begin_bytes = SP_ROUND_UP(used_bytes, alignment_bytes);
		if (size_bytes > sp_alloc_jemalloc.bytes ||
		    *begin_bytes > sp_alloc_jemalloc.bytes - size_bytes)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&cut_bytes, &used_bytes, *begin_bytes + size_bytes, memory_order_relaxed,
		memory_order_relaxed));
	return true;
}

/* If nothing was cut behind it meanwhile; else the addresses are lost. */
static void uncut(size_t begin_bytes, size_t size_bytes)
{
	size_t end_bytes = begin_bytes + size_bytes;

	atomic_compare_exchange_strong_explicit(&cut_bytes, &end_bytes, begin_bytes,
						memory_order_relaxed,
						memory_order_relaxed);
}

static void *take_spare(size_t size_bytes)
{
	size_t used_bytes = atomic_load_explicit(&spare_used_bytes, memory_order_relaxed);

	size_bytes = SP_ROUND_UP(size_bytes, HUGE_PAGE_BYTES);
	do {
		if (used_bytes + size_bytes > SPARE_BYTES)
			return MAP_FAILED;
	} while (!atomic_compare_exchange_weak_explicit(
		&spare_used_bytes, &used_bytes, used_bytes + size_bytes,
		memory_order_relaxed, memory_order_relaxed));
	return (void *)(spare + used_bytes); // NOLINT
}

/* Of what nobody asks for but the program, for itself, nothing follows. */
#define PROGRAMS_OWN_BYTES ((size_t)1 << 30)

/* It keeps errno: jemalloc may find some memory yet. */
static void *refuse(size_t size_bytes)
{
	if (size_bytes >= PROGRAMS_OWN_BYTES)
		return MAP_FAILED;
	atomic_store_explicit(&sp_alloc_jemalloc.has_memory, false, memory_order_relaxed);
	return take_spare(size_bytes);
}

/* Blocks are going to lie there: the bytes that tell of them are to be there, too. */
static bool open_page_classes(size_t begin_bytes, size_t size_bytes)
{
	uintptr_t begin = sp_alloc_jemalloc.base + begin_bytes;
	uintptr_t first =
		sp_alloc_jemalloc.page_classes + (begin >> SP_ALLOC_JEMALLOC_PAGE_SHIFT);
	uintptr_t end = sp_alloc_jemalloc.page_classes +
			(SP_ROUND_UP(begin + size_bytes, SP_PAGE_BYTES) >>
			 SP_ALLOC_JEMALLOC_PAGE_SHIFT);

	first = first / SP_PAGE_BYTES * SP_PAGE_BYTES;
	return sp_pages_open((void *)first, // NOLINT
			     SP_ROUND_UP(end, SP_PAGE_BYTES) - first) == 0;
}

void *sp_je_mmap(void *address, size_t size_bytes, int protection, int flags, int fd,
		 off_t offset)
{
	size_t begin_bytes;
	long result;

	/* At an address jemalloc only changes what it has. */
	if (!sp_alloc_jemalloc.bytes || address) {
		result = sp_syscall6(SYS_mmap, (long)address, (long)size_bytes,
				     protection, flags, fd, offset);
		return is_error(result) ? MAP_FAILED : (void *)result; // NOLINT
	}
	if (!cut(size_bytes, &begin_bytes))
		return refuse(size_bytes);
	address = (void *)(sp_alloc_jemalloc.base + begin_bytes); // NOLINT
	result = open_page_classes(begin_bytes, size_bytes)
			 ? sp_syscall3(SYS_mprotect, address, size_bytes, protection)
			 : -ENOMEM;
	if (is_error(result)) {
		uncut(begin_bytes, size_bytes);
		return refuse(size_bytes);
	}
	sp_syscall3(SYS_madvise, address, size_bytes, MADV_DODUMP);
	return address;
}

int sp_je_munmap(void *address, size_t size_bytes)
{
	long result;

	if (sp_alloc_jemalloc_owns(address))
		result = sp_syscall6(SYS_mmap, (long)address, (long)size_bytes, PROT_NONE,
				     RESERVED_FLAGS | MAP_FIXED, -1, 0);
	else
		result = sp_syscall2(SYS_munmap, address, size_bytes);
	return is_error(result) ? -1 : 0;
}

/* Refused for memory that is locked; free() is to keep errno all the same. */
int sp_je_madvise(void *address, size_t size_bytes, int advice)
{
	return is_error(sp_syscall3(SYS_madvise, address, size_bytes, advice)) ? -1 : 0;
}

/* The end of the data segment is the program's to move. */
void *sp_je_no_break(intptr_t bytes)
{
	(void)bytes;
	return (void *)-1; // NOLINT
}

/* The bytes that tell of its pages lie behind the range: few of them are ever touched,
 * and huge pages would make much memory of them. */
static bool reserve(size_t size_bytes)
{
	size_t page_count = size_bytes >> SP_ALLOC_JEMALLOC_PAGE_SHIFT;
	size_t range_bytes = size_bytes + HUGE_PAGE_BYTES;
	size_t whole_bytes = range_bytes + page_count;
	long pages = sp_syscall6(SYS_mmap, 0, (long)whole_bytes, PROT_NONE,
				 RESERVED_FLAGS, -1, 0);

	if (is_error(pages))
		return false;
	sp_syscall3(SYS_madvise, pages, whole_bytes, MADV_DONTDUMP);
	sp_syscall3(SYS_madvise, pages + (long)range_bytes, page_count, MADV_NOHUGEPAGE);
	sp_alloc_jemalloc.base = SP_ROUND_UP((uintptr_t)pages, HUGE_PAGE_BYTES);
	sp_alloc_jemalloc.bytes = size_bytes;
	sp_alloc_jemalloc.page_classes =
		(uintptr_t)pages + range_bytes -
		(sp_alloc_jemalloc.base >> SP_ALLOC_JEMALLOC_PAGE_SHIFT);
	spare = (uintptr_t)sp_je_mmap(NULL, SPARE_BYTES, PROT_READ | PROT_WRITE,
				      RESERVED_FLAGS, -1, 0);
	if (spare == (uintptr_t)MAP_FAILED) {
		sp_alloc_jemalloc.bytes = 0;
		sp_syscall2(SYS_munmap, pages, whole_bytes);
		return false;
	}
	atomic_store_explicit(&sp_alloc_jemalloc.has_memory, true, memory_order_relaxed);
	return true;
}

/* Many times what a program needs: addresses that were given back are not used again.
 * Some systems have no room for so many. */
bool sp_jemalloc_memory_reserve(void)
{
	return reserve((size_t)4 << 40) || reserve((size_t)512 << 30) ||
	       reserve((size_t)64 << 30);
}
