/*
 * Storage for a section before anybody touches it. A page of a mapped file that
 * has no storage is SIGBUS when the file system is full, so pages are taken with
 * fallocate (never posix_fallocate, which falls back to writing), and then
 * faulted in, so that no handler meets a page fault; but not what a recording has from
 * its beginning, which most programs touch half of, or less. No descriptor is kept: the
 * file is opened by its path and must still be the same one; where that fails
 * (chroot, unlinked) faulting the pages in takes the storage or tells that there
 * is none. Any number of threads may ask for the same section at once: what they take
 * is the same, and one of them publishes it. Context: signal.
 */
#include "sp_recording_writer.h"

#include "layout.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_held_signals.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define GROW_BYTES (UINT64_C(64) << 10)
/* A full file system is not asked again for every stack that is new. */
#define ASK_AGAIN_NS SP_NS_PER_SECOND

static int open_again(const struct sp_recording *recording)
{
	struct stat status;
	int fd = (int)sp_syscall4(SYS_openat, AT_FDCWD, recording->path,
				  O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0);

	if (fd < 0)
		return fd;
	if (sp_syscall2(SYS_fstat, fd, &status) == 0 &&
	    status.st_dev == recording->device && status.st_ino == recording->inode)
		return fd;
	sp_syscall1(SYS_close, fd);
	return -ESTALE;
}

static int allocate_in(int fd, uint64_t offset, uint64_t size_bytes)
{
	return (int)sp_syscall4(SYS_fallocate, fd, 0, offset, size_bytes);
}

static int touch(void *memory, uint64_t size_bytes)
{
	int err = (int)sp_syscall3(SYS_madvise, memory, size_bytes, MADV_POPULATE_WRITE);

	/* What would be SIGBUS: there is none. */
	return err == -EFAULT ? -ENOSPC : err;
}

#ifndef F_GET_SEALS
#define F_GET_SEALS 1034 /* Linux 3.17 */
#endif

/*
 * Are the file's pages memory? Only such a file may have seals. Elsewhere to touch a page
 * for the first time may be to wait for a journal, a server or a daemon. Asked once in a
 * process: what confines the program later, or a fork child, need not allow it.
 */
static bool is_memory(int fd, uint64_t device)
{
	static bool is_asked, has_seals;
	static uint64_t asked_device;

	if (!is_asked) {
		has_seals = (int)sp_syscall3(SYS_fcntl, fd, F_GET_SEALS, 0) >= 0;
		asked_device = device;
		is_asked = true;
	}
	return has_seals && device == asked_device;
}

void sp_recording_keep_pages_small(struct sp_recording *recording, void *memory,
				   uint64_t size_bytes, int fd)
{
	struct stat status;

	sp_syscall3(SYS_madvise, memory, size_bytes, MADV_NOHUGEPAGE);
	recording->has_large_pages =
		fd >= 0 && sp_syscall2(SYS_fstat, fd, &status) == 0 &&
		status.st_blksize >= (blksize_t)SP_LARGE_PAGE_BYTES &&
		touch(memory, 0) == 0;
	recording->is_in_memory = fd >= 0 && is_memory(fd, recording->device);
}

int sp_recording_take_of_file(const struct sp_recording *recording, void *memory, int fd,
			      uint64_t offset, uint64_t size_bytes)
{
	return recording->has_large_pages
		       ? touch((unsigned char *)memory + offset, size_bytes)
		       : allocate_in(fd, offset, size_bytes);
}

static int allocate(const struct sp_recording *recording, uint64_t offset,
		    uint64_t size_bytes)
{
	/* A handler of the program's that jumped away would leave our descriptor open. */
	uint64_t mask = sp_signals_hold();
	int err = -EOPNOTSUPP;
	int fd = open_again(recording);

	if (fd >= 0) {
		err = allocate_in(fd, offset, size_bytes);
		sp_syscall1(SYS_close, fd);
	}
	sp_signals_release(mask);
	return err;
}

static int take_storage(struct sp_recording *recording, uint64_t offset,
			uint64_t size_bytes, int fd)
{
	bool is_taken = false;
	int err;

	if (recording->is_file && !recording->has_large_pages) {
		err = fd >= 0 ? allocate_in(fd, offset, size_bytes)
			      : allocate(recording, offset, size_bytes);
		is_taken = err == 0;
		if (err != 0 && err != -EOPNOTSUPP && err != -EINTR)
			return err;
		if (is_taken && fd >= 0 && recording->is_in_memory)
			return 0;
	}
	/* It may be closed, if the recording is made already: see recording_create.c. */
	if (fd < 0) {
		err = sp_pages_open(sp_recording_at(recording, offset), size_bytes);
		if (err)
			return err;
	}
	err = touch(sp_recording_at(recording, offset), size_bytes);
	if (err == -EINVAL) /* an older kernel: anonymous memory comes when touched */
		err = is_taken || !recording->is_file ? 0 : -ENOSPC;
	return err;
}

/* What threads take at the same moment is counted when it is published, so that the
 * limit may be passed by the little that they take of different sections. */
static bool is_within_limit(const struct sp_recording_header *header, uint64_t size_bytes)
{
	uint64_t taken =
		atomic_load_explicit(&header->storage_bytes, memory_order_relaxed);

	return size_bytes <= header->storage_bytes_max &&
	       taken <= header->storage_bytes_max - size_bytes;
}

static bool was_just_refused(const struct sp_recording *recording)
{
	uint64_t refused_ns =
		atomic_load_explicit(&recording->refused_ns, memory_order_relaxed);

	return refused_ns && sp_clock_monotonic_ns() - refused_ns < ASK_AGAIN_NS;
}

/* A request that is refused may come again with each stack that is new: it is one. */
static void count_refusal(struct sp_recording *recording, enum sp_section_kind kind,
			  uint64_t end)
{
	if (atomic_exchange_explicit(&recording->refused_ends[kind], end,
				     memory_order_relaxed) != end)
		sp_recording_count(recording, SP_LOSS_NO_SPACE, 1);
}

/* Within the limit first, then from the kernel. */
static int take(struct sp_recording *recording, uint64_t offset, uint64_t size_bytes,
		int fd)
{
	int err;

	if (was_just_refused(recording) ||
	    !is_within_limit(recording->header, size_bytes))
		return -ENOSPC;
	err = take_storage(recording, offset, size_bytes, fd);
	if (!err)
		return 0;
	atomic_store_explicit(&recording->refused_ns, sp_clock_monotonic_ns(),
			      memory_order_relaxed);
	return err;
}

static uint64_t end_of(const struct sp_section *section, uint64_t items)
{
	return SP_ROUND_UP(items * section->item_bytes, SP_PAGE_BYTES);
}

/* Several threads may have taken the same: whoever comes first has it counted. */
static void publish(struct sp_recording_header *header, struct sp_section *section,
		    uint64_t reserved, uint64_t available)
{
	/* Release: pairs with sp_recording_reserved(): whoever sees the items may touch
	 * them. */
	while (reserved < available) {
		if (!atomic_compare_exchange_weak_explicit(
			    &section->reserved_items, &reserved, available,
			    memory_order_release, memory_order_relaxed))
			continue;
		atomic_fetch_add_explicit(&header->storage_bytes,
					  end_of(section, available) -
						  end_of(section, reserved),
					  memory_order_relaxed);
		return;
	}
}

static int grow(struct sp_recording *recording, enum sp_section_kind kind, uint64_t items,
		int fd)
{
	struct sp_recording_header *header = recording->header;
	struct sp_section *section = &header->sections[kind];
	uint64_t reserved =
		atomic_load_explicit(&section->reserved_items, memory_order_relaxed);
	uint64_t items_max = sp_recording_items_max(recording, kind);
	uint64_t start, end, limit, available;
	int err;

	if (items <= reserved)
		return 0;
	if (items > items_max)
		return -ENOSPC;
	start = end_of(section, reserved);
	end = SP_ROUND_UP(items * section->item_bytes,
			  reserved ? GROW_BYTES : SP_PAGE_BYTES);
	limit = end_of(section, items_max);
	if (end > limit)
		end = limit;
	if (end > start) {
		err = take(recording, section->offset + start, end - start, fd);
		if (err) {
			count_refusal(recording, kind, end);
			return err;
		}
	}
	available = end / section->item_bytes;
	if (available > items_max)
		available = items_max;
	publish(header, section, reserved, available);
	return 0;
}

int sp_recording_reserve_with(struct sp_recording *recording, enum sp_section_kind kind,
			      uint64_t items, int fd)
{
	int err;

	if (items <=
	    atomic_load_explicit(&recording->header->sections[kind].reserved_items,
				 memory_order_relaxed))
		return 0;
	/* Sequentially consistent: either we see that addresses were given back, or who
	 * gives them back sees us. */
	atomic_fetch_add(&recording->takers, 1);
	err = grow(recording, kind, items, fd);
	atomic_fetch_sub(&recording->takers, 1);
	return err;
}

int sp_recording_reserve(struct sp_recording *recording, enum sp_section_kind kind,
			 uint64_t items)
{
	return sp_recording_reserve_with(recording, kind, items, -1);
}
