/*
 * Opening a recording that somebody else wrote, or still writes: then its heap is held
 * meanwhile. The file is read, never mapped, so that one that shrinks meanwhile is an
 * error and no SIGBUS; only what has storage is read, into private memory laid out as the
 * original. Everything the consumer relies on without asking is checked here, and nothing
 * else is believed there. Context: collector.
 */
#include "sp_recording_reader.h"

#include "journal.h"
#include "layout.h"
#include "recording_check_heap.h"
#include "recording_check_span.h"
#include "recording_hold.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_frame.h"
#include "sp_pages.h"
#include "sp_process_identity.h"
#include "sp_ring.h"
#include "sp_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Where the bytes come from. */
struct source {
	int fd;
	const unsigned char *bytes; /* instead of fd, when not NULL */
	uint64_t size_bytes;
	struct sp_recording_hold hold; /* of a file that is written meanwhile */
};

struct problem {
	char *text;
	size_t text_bytes;
};

static int refuse(struct problem *problem, int err, const char *what)
{
	if (problem->text_bytes)
		snprintf(problem->text, problem->text_bytes, "%s", what);
	return err;
}

static int read_at(const struct source *source, void *out, uint64_t offset,
		   uint64_t bytes)
{
	if (offset > source->size_bytes || bytes > source->size_bytes - offset)
		return -ENODATA;
	if (source->bytes) {
		memcpy(out, source->bytes + offset, bytes);
		return 0;
	}
	while (bytes) {
		ssize_t got = pread(source->fd, out, bytes, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ENODATA;
		out = (unsigned char *)out + got;
		offset += (uint64_t)got;
		bytes -= (uint64_t)got;
	}
	return 0;
}

/* Also bounds the memory that a header can ask for. */
static bool is_within_storage(const struct sp_recording_header *header)
{
	uint64_t bytes = 0;

	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++)
		bytes += sp_atomic_value(&header->sections[kind].reserved_items) *
			 header->sections[kind].item_bytes;
	return bytes <= header->storage_bytes_max;
}

static int check_header(const struct sp_recording_header *header,
			struct sp_layout *layout, struct problem *problem)
{
	if (memcmp(header->magic, SP_RECORDING_MAGIC, sizeof(header->magic)) != 0)
		return refuse(problem, -EINVAL, "this is not a spanprof recording");
	if (header->layout_version != SP_RECORDING_VERSION ||
	    header->header_bytes != sizeof(*header))
		return refuse(
			problem, -EPROTONOSUPPORT,
			"written by another version of spanprof, which can recover it");
	if (header->storage_bytes_max < SP_RECORDING_BYTES_MIN ||
	    header->storage_bytes_max > SP_RECORDING_BYTES_MAX)
		return refuse(problem, -EINVAL, "damaged: its size makes no sense");
	sp_layout_compute(layout, header->storage_bytes_max);
	if (header->total_bytes != layout->total_bytes)
		return refuse(problem, -EINVAL,
			      "damaged: its size does not fit its layout");
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		const struct sp_section *section = &header->sections[kind];
		uint64_t reserved = atomic_load_explicit(&section->reserved_items,
							 memory_order_relaxed);
		uint64_t used =
			atomic_load_explicit(&section->used_items, memory_order_relaxed);

		if (section->offset != layout->sections[kind].offset ||
		    section->item_bytes != layout->sections[kind].item_bytes ||
		    section->capacity_items != layout->sections[kind].capacity_items ||
		    reserved > section->capacity_items || used > reserved)
			return refuse(problem, -EINVAL,
				      "damaged: its section table is wrong");
	}
	if (!is_within_storage(header))
		return refuse(problem, -EINVAL,
			      "damaged: it claims more than its storage");
	if (sp_atomic_value(&header->sections[SP_SECTION_GROUPS].reserved_items) !=
		    SP_GROUPS ||
	    sp_atomic_value(&header->sections[SP_SECTION_NODES].used_items) < 1)
		return refuse(problem, -EINVAL, "damaged: it lacks its first tables");
	if ((header->cpu_period_ns == 0 && header->heap_rate_bytes == 0) ||
	    header->cpu_period_ns > UINT64_C(1000000000))
		return refuse(problem, -EINVAL,
			      "damaged or never begun: it has no period");
	return 0;
}

static int check_nodes(const struct sp_recording *recording, struct problem *problem)
{
	uint64_t count = sp_recording_used(recording, SP_SECTION_NODES);

	for (uint64_t i = 1; i < count; i++) {
		const struct sp_node *node =
			sp_recording_item(recording, SP_SECTION_NODES, i);

		if (i == 1 && node->frame != sp_frame_pseudo(SP_PSEUDO_DROPPED))
			return refuse(problem, -EINVAL,
				      "damaged: its stack table begins wrong");
		if (node->parent >= i)
			return refuse(problem, -EINVAL,
				      "damaged: a loop in its stack table");
	}
	return 0;
}

static int check_cells(const struct sp_recording *recording, struct problem *problem)
{
	uint64_t nodes = sp_recording_used(recording, SP_SECTION_NODES);
	uint64_t count = sp_recording_used(recording, SP_SECTION_CELLS);

	for (uint64_t i = 0; i < count; i++) {
		const struct sp_cell *cell =
			sp_recording_item(recording, SP_SECTION_CELLS, i);

		if (cell->node >= nodes || cell->group >= SP_GROUPS)
			return refuse(problem, -EINVAL,
				      "damaged: a sum without its stack");
	}
	return 0;
}

static int check_rings(const struct sp_recording *recording, enum sp_section_kind kind,
		       uint32_t ring_bytes, struct problem *problem)
{
	uint64_t count = sp_recording_used(recording, kind);

	for (uint64_t i = 0; i < count; i++) {
		const struct sp_ring *ring = sp_recording_item(recording, kind, i);

		if (sp_ring_capacity(ring) != ring_bytes - sizeof(*ring) ||
		    sp_atomic_value(&ring->head) - sp_atomic_value(&ring->tail) >
			    sp_ring_capacity(ring) ||
		    sp_atomic_value(&ring->head) % 8 || sp_atomic_value(&ring->tail) % 8)
			return refuse(problem, -EINVAL, "damaged: a ring of it is wrong");
	}
	return 0;
}

static int check_strings(const struct sp_recording *recording, struct problem *problem)
{
	uint64_t used = sp_recording_used(recording, SP_SECTION_STRINGS);
	const char *strings = sp_recording_item(recording, SP_SECTION_STRINGS, 0);

	if (used && strings[used - 1] != '\0')
		return refuse(problem, -EINVAL, "damaged: its strings have no end");
	return 0;
}

/* The redo log writes where it says: only whole words behind the header's fixed part. */
static int check_journal(const struct sp_recording *recording, struct problem *problem)
{
	const struct sp_journal *journal = &recording->header->journal;
	uint64_t count = sp_atomic_value(&journal->count);

	if (count > SP_JOURNAL_WRITES_MAX)
		return refuse(problem, -EINVAL, "damaged: its journal is wrong");
	for (uint64_t i = 0; i < count; i++) {
		uint64_t offset = journal->writes[i].offset;
		bool is_inside = false;

		for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
			const struct sp_section *section =
				&recording->header->sections[kind];
			uint64_t end = section->offset +
				       sp_atomic_value(&section->reserved_items) *
					       section->item_bytes;

			is_inside |= offset >= section->offset && offset + 8 <= end;
		}
		is_inside |=
			offset >= offsetof(struct sp_recording_header, process_cpu_ns) &&
			offset + 8 <=
				offsetof(struct sp_recording_header, are_clocks_final);
		if (offset % 8 || !is_inside)
			return refuse(problem, -EINVAL,
				      "damaged: its journal points astray");
	}
	return 0;
}

static int check_heap(struct sp_recording *recording, struct problem *problem)
{
	const char *what = sp_recording_check_heap(recording);

	return what ? refuse(problem, -EINVAL, what) : 0;
}

static int check_spans(struct sp_recording *recording, struct problem *problem)
{
	const char *what = sp_recording_check_spans(recording);

	return what ? refuse(problem, -EINVAL, what) : 0;
}

static int check_all(struct sp_recording *recording, struct problem *problem)
{
	int err = check_journal(recording, problem);

	/* First, as it changes what the others look at. */
	if (!err)
		sp_journal_replay(recording);
	if (!err)
		err = check_strings(recording, problem);
	if (!err)
		err = check_nodes(recording, problem);
	if (!err)
		err = check_cells(recording, problem);
	if (!err)
		err = check_rings(recording, SP_SECTION_RINGS_LARGE, SP_RING_LARGE_BYTES,
				  problem);
	if (!err)
		err = check_rings(recording, SP_SECTION_RINGS_SMALL, SP_RING_SMALL_BYTES,
				  problem);
	if (!err)
		err = check_heap(recording, problem);
	if (!err)
		err = check_spans(recording, problem);
	return err;
}

/* Texts of the header end somewhere inside their fields. */
static void end_texts(struct sp_recording_header *header)
{
	header->program[sizeof(header->program) - 1] = '\0';
	header->exe_path[sizeof(header->exe_path) - 1] = '\0';
	header->command_line[sizeof(header->command_line) - 1] = '\0';
	header->file_pattern[sizeof(header->file_pattern) - 1] = '\0';
	header->out_dir[sizeof(header->out_dir) - 1] = '\0';
}

/* The heap's sums come before the blocks that are not in them; of the other tables of
 * heap and spans the last comes first: see is_of_one_moment(). */
static enum sp_section_kind copied_as(unsigned int number)
{
	if (number == 0)
		return SP_SECTION_HEAP_BATCHES;
	if (number == SP_SECTION_HEAP_BATCHES)
		return (enum sp_section_kind)0;
	if (number >= SP_SECTION_HEAP_STACKS && number <= SP_SECTION_LIVE_BLOCKS)
		number = SP_SECTION_HEAP_STACKS + SP_SECTION_LIVE_BLOCKS - number;
	else if (number >= SP_SECTION_SPAN_TEXT && number <= SP_SECTION_SPANS)
		number = SP_SECTION_SPAN_TEXT + SP_SECTION_SPANS - number;
	return (enum sp_section_kind)number;
}

static int copy_sections(struct sp_recording *recording, const struct source *source,
			 struct problem *problem)
{
	for (unsigned int i = 0; i < SP_SECTION_COUNT; i++) {
		const struct sp_section *section =
			&recording->header->sections[copied_as(i)];
		int err = read_at(source, sp_recording_at(recording, section->offset),
				  section->offset,
				  sp_atomic_value(&section->reserved_items) *
					  section->item_bytes);

		if (err)
			return refuse(problem, err == -ENODATA ? -EINVAL : err,
				      err == -ENODATA
					      ? "cut off: it ends before its tables do"
					      : "cannot be read");
	}
	return 0;
}

static int read_section_table(const struct source *source,
			      struct sp_section sections[SP_SECTION_COUNT])
{
	return read_at(source, sections, offsetof(struct sp_recording_header, sections),
		       sizeof(*sections) * SP_SECTION_COUNT);
}

/* Storage comes before the items in it: read the other way around, these never seem to
 * be more than it holds. */
static int read_header(const struct source *source, struct sp_recording_header *header)
{
	struct sp_section later[SP_SECTION_COUNT];
	int err = read_at(source, header, 0, SP_HEADER_BYTES);

	if (!err)
		err = read_section_table(source, later);
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT && !err; kind++)
		atomic_store_explicit(&header->sections[kind].reserved_items,
				      sp_atomic_value(&later[kind].reserved_items),
				      memory_order_relaxed);
	return err;
}

/* A recording that is still being written is read once more when its sums moved
 * meanwhile, and taken as it is when they never rest. */
#define READS_MAX 50
#define READS_PAUSE_NS (SP_NS_PER_SECOND / 1000)

/* Of the tables that hooks add to. False: there is storage now that was not copied. */
static bool take_newer_counts(struct sp_recording *recording, const struct source *source)
{
	struct sp_section *sections = recording->header->sections;
	struct sp_section now[SP_SECTION_COUNT];

	if (read_section_table(source, now) != 0)
		return true;
	for (unsigned int kind = SP_SECTION_HEAP_STACKS; kind < SP_SECTION_COUNT;
	     kind++) {
		uint64_t reserved = sp_atomic_value(&sections[kind].reserved_items);
		uint64_t used = sp_atomic_value(&now[kind].used_items);

		if (sp_atomic_value(&now[kind].reserved_items) != reserved)
			return false;
		if (used <= reserved)
			atomic_store_explicit(&sections[kind].used_items, used,
					      memory_order_relaxed);
	}
	return true;
}

/*
 * Every change of the sums goes through the journal and leaves its traces there. Hooks
 * write without it: a stack, then a cell that points to it, then a block of that cell;
 * and likewise from texts to spans. These are copied the other way around and counted
 * last, so that nothing in the copy points to what was not there yet.
 */
static bool is_of_one_moment(struct sp_recording *recording, const struct source *source)
{
	struct sp_journal now;

	return take_newer_counts(recording, source) &&
	       sp_recording_hold_lasts(&source->hold) &&
	       (read_at(source, &now, offsetof(struct sp_recording_header, journal),
			sizeof(now)) != 0 ||
		memcmp(&now, &recording->header->journal, sizeof(now)) == 0);
}

/* Where the original had no storage there is none here either, but it may be had:
 * the consumer's requests for more meet anonymous memory. */
static int map_private(struct sp_recording *recording, uint64_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return -ENOMEM;
	memset(recording, 0, sizeof(*recording));
	recording->header = memory;
	recording->mapped_bytes = bytes;
	return 0;
}

static int read_once(struct sp_recording *recording, const struct source *source,
		     struct problem *problem)
{
	union {
		struct sp_recording_header header;
		unsigned char bytes[SP_HEADER_BYTES];
	} first;
	struct sp_layout layout;
	int err = read_header(source, &first.header);

	if (err)
		return refuse(problem, -EINVAL,
			      "this is not a spanprof recording: too short");
	err = check_header(&first.header, &layout, problem);
	if (err)
		return err;
	err = map_private(recording, layout.total_bytes);
	if (err)
		return refuse(problem, err, "no memory to read it into");
	memcpy(recording->header, &first, sizeof(first));
	err = copy_sections(recording, source, problem);
	if (err)
		sp_recording_close(recording);
	return err;
}

static int open_source(struct sp_recording *recording, struct source *source,
		       struct problem *problem)
{
	const struct timespec pause = {.tv_nsec = READS_PAUSE_NS};
	int err;

	sp_recording_hold_begin(&source->hold);
	err = read_once(recording, source, problem);
	for (int reads = 1;
	     !err && !is_of_one_moment(recording, source) && reads < READS_MAX; reads++) {
		sp_recording_close(recording);
		nanosleep(&pause, NULL);
		sp_recording_hold_begin(&source->hold);
		err = read_once(recording, source, problem);
	}
	sp_recording_hold_end(&source->hold);
	if (err)
		return err;
	end_texts(recording->header);
	atomic_store_explicit(&recording->header->consumer, 0, memory_order_relaxed);
	err = check_all(recording, problem);
	if (err)
		sp_recording_close(recording);
	return err;
}

static int open_file(struct sp_recording *recording, struct source *source,
		     struct problem *problem)
{
	struct stat status;
	int err;

	if (source->fd < 0)
		return refuse(problem, -errno, strerrordesc_np(errno));
	if (fstat(source->fd, &status) != 0)
		err = refuse(problem, -errno, strerrordesc_np(errno));
	else if (!S_ISREG(status.st_mode))
		err = refuse(problem, -EINVAL, "not a regular file");
	else {
		source->size_bytes = (uint64_t)status.st_size;
		err = open_source(recording, source, problem);
	}
	close(source->fd);
	return err;
}

#define OPEN_FLAGS (O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

int sp_recording_open(struct sp_recording *recording, const char *path, char *error,
		      size_t error_bytes)
{
	struct problem problem = {error, error_bytes};
	struct source source = {.fd = open(path, O_RDONLY | OPEN_FLAGS),
				.hold = {.fd = -1}};

	return open_file(recording, &source, &problem);
}

int sp_recording_open_live(struct sp_recording *recording, const char *path, char *error,
			   size_t error_bytes)
{
	struct problem problem = {error, error_bytes};
	struct source source = {.fd = open(path, O_RDWR | OPEN_FLAGS)};

	source.hold.fd = source.fd;
	if (source.fd < 0)
		source.fd = open(path, O_RDONLY | OPEN_FLAGS);
	return open_file(recording, &source, &problem);
}

int sp_recording_open_memory(struct sp_recording *recording, const void *bytes,
			     size_t size_bytes, char *error, size_t error_bytes)
{
	struct problem problem = {error, error_bytes};
	struct source source = {
		.fd = -1, .bytes = bytes, .size_bytes = size_bytes, .hold = {.fd = -1}};

	return open_source(recording, &source, &problem);
}

void sp_recording_close(struct sp_recording *recording)
{
	if (recording->header)
		munmap(recording->header, recording->mapped_bytes);
	recording->header = NULL;
}

int sp_recording_is_live(const struct sp_recording *recording)
{
	const struct sp_recording_header *header = recording->header;
	struct sp_process_identity now;

	sp_process_identity_read(&now, (int)header->pid);
	if (header->boot_id_hash != now.boot_id_hash)
		return 0; /* the machine was started anew since */
	if (header->pid_namespace != now.pid_namespace)
		return -EXDEV;
	return now.start_ticks != 0 && now.start_ticks == header->process_start_ticks;
}

const char *sp_recording_string(const struct sp_recording *recording, uint64_t offset)
{
	return offset < sp_recording_used(recording, SP_SECTION_STRINGS)
		       ? sp_recording_item(recording, SP_SECTION_STRINGS, offset)
		       : "";
}
