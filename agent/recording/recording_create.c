/*
 * Making a recording: the first place that takes it, with the first storage of
 * every section. Context: signal (a fork child makes its recording in the handler
 * of its first sample), so system calls only; the descriptor is closed again at
 * once, and storage that is wanted later is taken through the path
 * (recording_reserve.c).
 */
#include "sp_recording_writer.h"

#include "layout.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_held_signals.h"
#include "sp_pages.h"
#include "sp_recording_span.h"
#include "sp_syscall.h"
#include "sp_text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define FILE_MODE 0600

/* The most that the layout may take: files have a limit as well. */
static uint64_t layout_limit(bool is_file)
{
	uint64_t address_space = sp_recording_addresses_max();
	uint64_t file_size = is_file ? sp_recording_limit(RLIMIT_FSIZE) : UINT64_MAX;

	return address_space < file_size ? address_space : file_size;
}

/* The storage limit is halved until the whole layout fits under bytes. */
static uint64_t fit_storage(uint64_t storage_bytes_max, uint64_t bytes)
{
	struct sp_layout layout;

	while (storage_bytes_max >= SP_RECORDING_BYTES_MIN) {
		sp_layout_compute(&layout, storage_bytes_max);
		if (layout.total_bytes <= bytes)
			return storage_bytes_max;
		storage_bytes_max /= 2;
	}
	return 0;
}

static void put_section_table(struct sp_recording_header *header,
			      const struct sp_layout *layout)
{
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		struct sp_section *section = &header->sections[kind];

		section->offset = layout->sections[kind].offset;
		section->item_bytes = layout->sections[kind].item_bytes;
		section->capacity_items = layout->sections[kind].capacity_items;
	}
}

/* At a multiple of large pages; 0: anywhere. Should somebody else take it meanwhile, the
 * kernel chooses another place. */
static long place_for(uint64_t bytes, bool wants_large_pages)
{
	uint64_t spare_bytes = bytes + SP_LARGE_PAGE_BYTES;
	void *found = wants_large_pages ? sp_pages_reserve(spare_bytes) : NULL;

	if (!found)
		return 0;
	sp_pages_unmap(found, spare_bytes);
	return (long)SP_ROUND_UP((uintptr_t)found, SP_LARGE_PAGE_BYTES);
}

/* fd -1: anonymous memory. */
static int map_and_fill(struct sp_recording *recording, int fd,
			const struct sp_recording_settings *settings,
			uint64_t storage_bytes_max)
{
	struct sp_layout layout;
	long memory;
	int err = 0;

	sp_layout_compute(&layout, storage_bytes_max);
	memory = sp_syscall6(
		SYS_mmap, place_for(layout.total_bytes, settings->wants_large_pages),
		(long)layout.total_bytes, PROT_READ | PROT_WRITE,
		fd < 0 ? MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED, fd, 0);
	if (memory < 0 && memory > -4096)
		return (int)memory;
	sp_syscall3(SYS_madvise, memory, layout.total_bytes, MADV_DONTDUMP);
	sp_recording_keep_pages_small(recording, (void *)memory, layout.total_bytes, fd);
	recording->mapped_bytes = layout.total_bytes;
	if (fd >= 0) {
		err = sp_recording_take_of_file(recording, (void *)memory, fd, 0,
						SP_HEADER_BYTES);
		if (err)
			goto fail;
	}
	/* The header has storage now; the sections take theirs the usual way. */
	atomic_store_explicit(&recording->refused_ns, 0, memory_order_relaxed);
	recording->header = (struct sp_recording_header *)memory;
	recording->header->storage_bytes_max = storage_bytes_max;
	put_section_table(recording->header, &layout);
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT && !err; kind++)
		err = sp_recording_reserve_with(recording, (enum sp_section_kind)kind,
						layout.sections[kind].first_items, fd);
	if (!err) {
		sp_recording_close_unused(recording);
		return 0;
	}
fail:
	recording->header = NULL;
	sp_syscall2(SYS_munmap, memory, layout.total_bytes);
	return err;
}

static int create_anonymous(struct sp_recording *recording,
			    const struct sp_recording_settings *settings)
{
	uint64_t storage_bytes_max;
	int err = -ENOMEM;

	recording->is_file = false;
	recording->path[0] = '\0';
	storage_bytes_max = fit_storage(settings->bytes_max, layout_limit(false));
	for (; storage_bytes_max >= SP_RECORDING_BYTES_MIN; storage_bytes_max /= 2) {
		err = map_and_fill(recording, -1, settings, storage_bytes_max);
		if (!err)
			break;
	}
	return err;
}

int sp_recording_create_file(struct sp_recording *recording)
{
	struct stat status;
	int fd = (int)sp_syscall4(SYS_openat, AT_FDCWD, recording->path,
				  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
				  FILE_MODE);
	int err;

	if (fd < 0)
		return fd;
	/* The program's umask may leave us nothing. */
	sp_syscall2(SYS_fchmod, fd, FILE_MODE);
	err = (int)sp_syscall2(SYS_fstat, fd, &status);
	if (err) {
		sp_syscall3(SYS_unlinkat, AT_FDCWD, recording->path, 0);
		sp_syscall1(SYS_close, fd);
		return err;
	}
	recording->device = status.st_dev;
	recording->inode = status.st_ino;
	return fd;
}

/* program.PID.TIME.spanprof: of the program so much that no file system refuses it. */
static void append_file_name(struct sp_text *path, const char *program)
{
	static const size_t kept_bytes_max =
		NAME_MAX - sizeof(".2147483647.0123456789abcdef" SP_RECORDING_SUFFIX) + 1;
	size_t kept_bytes = strlen(program);

	if (kept_bytes > kept_bytes_max)
		kept_bytes = sp_text_whole_bytes(program, kept_bytes_max);
	for (size_t i = 0; i < kept_bytes; i++)
		sp_text_char(path, program[i]);
	sp_text_char(path, '.');
	sp_text_decimal(path, (uint64_t)sp_syscall0(SYS_getpid));
	sp_text_char(path, '.');
	sp_text_hex(path, sp_clock_realtime_ns());
	sp_text_string(path, SP_RECORDING_SUFFIX);
}

static int create_in(struct sp_recording *recording, const char *directory,
		     const struct sp_recording_settings *settings)
{
	uint64_t storage_bytes_max = fit_storage(settings->bytes_max, layout_limit(true));
	struct sp_text path;
	int err;
	int fd;

	if (!storage_bytes_max)
		return -EFBIG;
	sp_text_init(&path, recording->path, sizeof(recording->path));
	sp_text_string(&path, directory);
	sp_text_char(&path, '/');
	append_file_name(&path, settings->program);
	if (path.is_cut)
		return -ENAMETOOLONG;

	fd = sp_recording_create_file(recording);
	if (fd < 0)
		return fd;
	recording->is_file = true;
	for (;;) {
		struct sp_layout layout;

		sp_layout_compute(&layout, storage_bytes_max);
		/* Nothing of an earlier try is to be left. */
		err = (int)sp_syscall2(SYS_ftruncate, fd, 0);
		if (!err)
			err = (int)sp_syscall2(SYS_ftruncate, fd, layout.total_bytes);
		if (!err)
			err = map_and_fill(recording, fd, settings, storage_bytes_max);
		/* A small address space, or a small file system: try with half. */
		if ((err != -ENOMEM && err != -EFBIG) ||
		    storage_bytes_max / 2 < SP_RECORDING_BYTES_MIN)
			break;
		storage_bytes_max /= 2;
	}
	if (err)
		sp_syscall3(SYS_unlinkat, AT_FDCWD, recording->path, 0);
	sp_syscall1(SYS_close, fd);
	return err;
}

/* Text 0 is "", label set 0 the empty one, 1 that of whatever finds no room. */
static void begin_spans(struct sp_recording *recording)
{
	struct sp_section *sections = recording->header->sections;
	struct sp_label_set *sets =
		sp_recording_item(recording, SP_SECTION_LABEL_SETS, 0);

	for (unsigned int i = 0; i <= SP_LABEL_SET_OTHER; i++)
		atomic_store_explicit(&sets[i].is_filled, 1, memory_order_relaxed);
	atomic_store_explicit(&sections[SP_SECTION_SPAN_TEXT].used_items, 1,
			      memory_order_relaxed);
	atomic_store_explicit(&sections[SP_SECTION_LABEL_SETS].used_items,
			      SP_LABEL_SET_OTHER + 1, memory_order_relaxed);
}

static void init_rings_and_header(struct sp_recording *recording)
{
	struct sp_recording_header *header = recording->header;

	header->layout_version = SP_RECORDING_VERSION;
	header->header_bytes = sizeof(*header);
	header->total_bytes = recording->mapped_bytes;
	header->pid = (uint32_t)sp_syscall0(SYS_getpid);
	header->start_realtime_ns = sp_clock_realtime_ns();
	sp_clock_read_both(&header->start_monotonic_ns, &header->start_cycles);
	/* Node 0 is the empty stack, string 0 the empty string. */
	atomic_store_explicit(&header->sections[SP_SECTION_NODES].used_items, 1,
			      memory_order_relaxed);
	atomic_store_explicit(&header->sections[SP_SECTION_STRINGS].used_items, 1,
			      memory_order_relaxed);
	begin_spans(recording);
	/* Last: a reader takes a file without it for one that is not made yet. */
	atomic_thread_fence(memory_order_release);
	for (unsigned int i = 0; i < sizeof(header->magic); i++)
		header->magic[i] = SP_RECORDING_MAGIC[i];
}

int sp_recording_create(struct sp_recording *recording,
			const struct sp_recording_settings *settings)
{
	const char *const places[] = {
		settings->directory && *settings->directory ? settings->directory
							    : settings->runtime_directory,
		settings->directory && *settings->directory ? NULL : "/dev/shm",
		settings->out_directory,
	};
	/* A limit of file sizes is an error for us, and nobody's handler jumps away from
	 * an open descriptor. */
	uint64_t mask = sp_signals_hold();
	int err = -ENOENT;

	recording->wanted_error = 0;
	atomic_store(&recording->takers, 0);
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++)
		atomic_store(&recording->items_max[kind], 0);
	for (unsigned int i = 0; i < SP_ARRAY_COUNT(places) && err; i++) {
		if (!places[i] || !*places[i])
			continue;
		err = create_in(recording, places[i], settings);
		if (places[i] == settings->directory)
			recording->wanted_error = err;
	}
	sp_signals_release(mask);
	if (err)
		err = create_anonymous(recording, settings);
	if (!err)
		init_rings_and_header(recording);
	return err;
}

int sp_recording_remove(struct sp_recording *recording)
{
	struct stat status;
	long err;

	if (!recording->header || !recording->is_file)
		return 0;
	err = sp_syscall4(SYS_newfstatat, AT_FDCWD, recording->path, &status,
			  AT_SYMLINK_NOFOLLOW);
	if (err == -ENOENT)
		return 0;
	if (!err &&
	    (status.st_dev != recording->device || status.st_ino != recording->inode))
		return 0;
	return (int)(err ? err : sp_syscall3(SYS_unlinkat, AT_FDCWD, recording->path, 0));
}
