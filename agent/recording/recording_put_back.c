/*
 * A recording's file is removed once the profiles are written, as the image is about to
 * go. Where the program goes on after all, as after an exec that failed, the file that
 * has no name any more is replaced by a copy with the same one. Context: collector, or
 * signal where there is no such thread; nobody else may touch the recording meanwhile.
 */
#include "sp_recording_writer.h"

#include "layout.h"
#include "sp_compiler.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static uint64_t stored_bytes(const struct sp_recording *recording,
			     enum sp_section_kind kind)
{
	return SP_ROUND_UP(sp_recording_reserved(recording, kind) *
				   recording->header->sections[kind].item_bytes,
			   SP_PAGE_BYTES);
}

/* Without storage, to touch it would be the end of the program. */
static int copy_part(const struct sp_recording *recording, int fd, unsigned char *memory,
		     uint64_t offset, uint64_t size_bytes)
{
	long refused =
		sp_recording_take_of_file(recording, memory, fd, offset, size_bytes);
	long err = sp_syscall3(SYS_madvise, memory + offset, size_bytes,
			       MADV_POPULATE_WRITE);

	if (refused && refused != -EOPNOTSUPP)
		return (int)refused;
	/* An older kernel: what was taken is there when it is touched. */
	if (err && (err != -EINVAL || refused))
		return (int)err;
	memcpy(memory + offset, sp_recording_at(recording, offset), size_bytes);
	return 0;
}

static int copy(const struct sp_recording *recording, int fd, unsigned char *memory)
{
	int err = copy_part(recording, fd, memory, 0, SP_HEADER_BYTES);

	for (unsigned int kind = 0; kind < SP_SECTION_COUNT && !err; kind++)
		if (stored_bytes(recording, kind))
			err = copy_part(recording, fd, memory,
					recording->header->sections[kind].offset,
					stored_bytes(recording, kind));
	return err;
}

/* Elsewhere first: where that fails, the old memory is still there. */
static int replace(struct sp_recording *recording, int fd)
{
	long bytes = (long)recording->mapped_bytes, memory;
	int err = (int)sp_syscall2(SYS_ftruncate, fd, bytes);

	if (err)
		return err;
	memory = sp_syscall6(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			     0);
	if (memory < 0 && memory > -4096)
		return (int)memory;
	sp_syscall3(SYS_madvise, memory, bytes, MADV_DONTDUMP);
	sp_recording_keep_pages_small(recording, (void *)memory, (uint64_t)bytes, fd);
	err = copy(recording, fd, (unsigned char *)memory);
	/* Refused where the program may have no more mappings. */
	if (!err) {
		long moved = sp_syscall6(SYS_mremap, memory, bytes, bytes,
					 MREMAP_MAYMOVE | MREMAP_FIXED,
					 (long)(uintptr_t)recording->header, 0);

		err = moved < 0 && moved > -4096 ? (int)moved : 0;
	}
	if (err) {
		sp_syscall2(SYS_munmap, memory, bytes);
		return err;
	}
	sp_recording_close_unused(recording);
	return 0;
}

int sp_recording_put_back(struct sp_recording *recording)
{
	int fd, err;

	if (!recording->header || !recording->is_file)
		return 0;
	if (sp_recording_has_given_back(recording))
		return -ENOSPC;
	fd = sp_recording_create_file(recording);
	/* It was never removed. */
	if (fd == -EEXIST)
		return 0;
	if (fd < 0)
		return fd;
	err = replace(recording, fd);
	sp_syscall1(SYS_close, fd);
	if (err)
		sp_syscall3(SYS_unlinkat, AT_FDCWD, recording->path, 0);
	return err;
}
