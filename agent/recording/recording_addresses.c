/*
 * The addresses of a recording: many more than it has storage for. Those without storage
 * are closed, and are given back where the program limits its address space as it runs:
 * it finds little of ours then, and sections grow no further than what is left. Where
 * addresses were given back whatever the program maps may lie, so that the rest is
 * unmapped and replaced piece by piece. Context: signal, but for giving back: hook.
 */
#include "sp_recording_writer.h"

#include "layout.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_held_signals.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* A smaller rest is not worth the two mappings more. */
#define CLOSED_BYTES_MIN (UINT64_C(8) << 20)
#define GIVEN_BACK_BYTES_MIN (UINT64_C(256) << 10)

/* Whoever takes storage is done by then, on a busy machine, too, or never. */
#define TAKERS_WAIT_NS SP_NS_PER_SECOND

uint64_t sp_recording_limit(int resource)
{
	struct rlimit limit;

	if (sp_syscall4(SYS_prlimit64, 0, resource, NULL, &limit) < 0)
		return UINT64_MAX;
	return limit.rlim_cur;
}

uint64_t sp_recording_addresses_max(void)
{
	uint64_t limit = sp_recording_limit(RLIMIT_AS);

	return limit == UINT64_MAX ? limit : limit / 8;
}

static uint64_t end_of_items(const struct sp_recording *recording,
			     enum sp_section_kind kind, uint64_t items)
{
	const struct sp_section *section = &recording->header->sections[kind];

	return section->offset + SP_ROUND_UP(items * section->item_bytes, SP_PAGE_BYTES);
}

void sp_recording_close_unused(const struct sp_recording *recording)
{
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		uint64_t start = end_of_items(recording, kind,
					      sp_recording_reserved(recording, kind));
		uint64_t end = end_of_items(recording, kind,
					    sp_recording_items_max(recording, kind));

		if (end - start >= CLOSED_BYTES_MIN)
			sp_syscall3(SYS_mprotect, sp_recording_at(recording, start),
				    end - start, PROT_NONE);
	}
}

/* --- giving back --- */

/* With what a section is to do from now on; what it has it keeps. */
static uint64_t items_left(const struct sp_recording *recording,
			   enum sp_section_kind kind, uint64_t bytes)
{
	uint64_t items_max = sp_recording_items_max(recording, kind);
	uint64_t items = bytes / recording->header->sections[kind].item_bytes;

	if (items < sp_recording_reserved(recording, kind))
		items = sp_recording_reserved(recording, kind);
	if (!items)
		items = 1;
	if (items >= items_max || end_of_items(recording, kind, items_max) -
						  end_of_items(recording, kind, items) <
					  GIVEN_BACK_BYTES_MIN)
		return items_max;
	return items;
}

static bool await_takers(const struct sp_recording *recording)
{
	uint64_t deadline_ns = sp_clock_monotonic_ns() + TAKERS_WAIT_NS;

	while (atomic_load(&recording->takers)) {
		if (sp_clock_monotonic_ns() >= deadline_ns)
			return false;
		sp_syscall0(SYS_sched_yield);
	}
	return true;
}

/* Nobody takes storage beyond items_max any more. */
static void give_back(struct sp_recording *recording, enum sp_section_kind kind,
		      uint64_t items_before)
{
	uint64_t reserved = sp_recording_reserved(recording, kind), start, end;

	/* It was taken just before. */
	if (reserved > atomic_load(&recording->items_max[kind]))
		atomic_store(&recording->items_max[kind], reserved);
	start = end_of_items(recording, kind, sp_recording_items_max(recording, kind));
	end = end_of_items(recording, kind, items_before);
	if (end > start)
		sp_syscall2(SYS_munmap, sp_recording_at(recording, start), end - start);
}

void sp_recording_fit_addresses(struct sp_recording *recording)
{
	static _Atomic bool is_under_way;
	uint64_t before[SP_SECTION_COUNT], bytes = sp_recording_addresses_max();
	bool may_give_back;

	if (!recording->header || recording->mapped_bytes <= bytes ||
	    atomic_exchange(&is_under_way, true))
		return;
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		before[kind] = sp_recording_items_max(recording, kind);
		atomic_store(&recording->items_max[kind],
			     items_left(recording, kind, bytes / SP_SECTION_COUNT));
	}
	may_give_back = await_takers(recording);
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		if (may_give_back)
			give_back(recording, kind, before[kind]);
		else
			atomic_store(&recording->items_max[kind], before[kind]);
	}
	atomic_store(&is_under_way, false);
}

/* --- what is left, as a whole --- */

struct piece {
	uint64_t start, end;
};

/* In a fork child the header is its parent's: only what this process gave back counts. */
static unsigned int list_pieces(const struct sp_recording *recording,
				struct piece pieces[SP_SECTION_COUNT + 1])
{
	unsigned int count = 0;
	uint64_t start = 0;

	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		uint64_t capacity = recording->header->sections[kind].capacity_items;
		uint64_t end = end_of_items(recording, kind,
					    sp_recording_items_max(recording, kind));
		uint64_t next = end_of_items(recording, kind, capacity);

		if (end == next)
			continue;
		pieces[count++] = (struct piece){start, end};
		start = next;
	}
	if (start < recording->mapped_bytes)
		pieces[count++] = (struct piece){start, recording->mapped_bytes};
	return count;
}

bool sp_recording_has_given_back(const struct sp_recording *recording)
{
	struct piece pieces[SP_SECTION_COUNT + 1];

	return list_pieces(recording, pieces) != 1 ||
	       pieces[0].end != recording->mapped_bytes;
}

void sp_recording_detach(struct sp_recording *recording)
{
	struct piece pieces[SP_SECTION_COUNT + 1];
	unsigned char *base = (unsigned char *)recording->header;
	unsigned int count;

	if (!base)
		return;
	count = list_pieces(recording, pieces);
	for (unsigned int i = 0; i < count; i++)
		sp_syscall2(SYS_munmap, base + pieces[i].start,
			    pieces[i].end - pieces[i].start);
	recording->header = NULL;
}

/* What stays readable when the rest is cut off; whole pages. */
#define KEPT_RANGES 3U

static void list_kept(const struct sp_recording *recording,
		      struct piece kept[KEPT_RANGES])
{
	static const enum sp_section_kind kinds[] = {SP_SECTION_MODULES,
						     SP_SECTION_STRINGS};

	kept[0] = (struct piece){0, SP_HEADER_BYTES};
	for (unsigned int i = 0; i < SP_ARRAY_COUNT(kinds); i++)
		kept[1 + i] = (struct piece){
			recording->header->sections[kinds[i]].offset,
			end_of_items(recording, kinds[i],
				     sp_recording_used(recording, kinds[i]))};
}

/* Elsewhere first: where memory is refused in the place of other memory, kernels before
 * Linux 6.12 have unmapped that by then. */
static bool replace_by_private(long at, long bytes)
{
	long copy = sp_syscall6(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (copy < 0 && copy > -4096)
		return false;
	if (sp_syscall6(SYS_mremap, copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at,
			0) == at)
		return true;
	sp_syscall2(SYS_munmap, copy, bytes);
	return false;
}

/* Where addresses, data or memory to be promised are limited: a file's pages count when
 * they are written, and it takes the addresses of what it replaces. */
static bool replace_by_file(long at, long bytes)
{
	long fd = -1;
	bool is_done;

	/* Else there would be a signal. */
	if (sp_recording_limit(RLIMIT_FSIZE) >= (uint64_t)bytes)
		fd = sp_syscall2(SYS_memfd_create, "spanprof", MFD_CLOEXEC);
	if (fd < 0)
		return false;
	is_done = sp_syscall2(SYS_ftruncate, fd, bytes) == 0 &&
		  sp_syscall6(SYS_mmap, at, bytes, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) == at;
	sp_syscall1(SYS_close, fd);
	return is_done;
}

/* False, and all is as it was. */
static bool cut_off_range(const struct sp_recording *recording, uint64_t start,
			  uint64_t end)
{
	long at = (long)(uintptr_t)sp_recording_at(recording, start);
	long bytes = (long)(end - start);

	if (!replace_by_private(at, bytes) && !replace_by_file(at, bytes))
		return false;
	sp_syscall3(SYS_madvise, at, bytes, MADV_DONTDUMP);
	return true;
}

static void cut_off_kept_page(const struct sp_recording *recording, uint64_t start)
{
	/* Of the one thread there is. */
	static unsigned char content[SP_PAGE_BYTES];
	unsigned char *page = sp_recording_at(recording, start);

	memcpy(content, page, SP_PAGE_BYTES);
	if (cut_off_range(recording, start, start + SP_PAGE_BYTES))
		memcpy(page, content, SP_PAGE_BYTES);
}

static void cut_off_piece(const struct sp_recording *recording, const struct piece *piece,
			  const struct piece kept[KEPT_RANGES])
{
	uint64_t at = piece->start;

	while (at < piece->end) {
		uint64_t end = piece->end;
		bool is_kept = false;

		for (unsigned int i = 0; i < KEPT_RANGES; i++) {
			is_kept |= at >= kept[i].start && at < kept[i].end;
			if (kept[i].start > at && kept[i].start < end)
				end = kept[i].start;
		}
		if (is_kept) {
			cut_off_kept_page(recording, at);
			end = at + SP_PAGE_BYTES;
		} else {
			cut_off_range(recording, at, end);
		}
		at = end;
	}
}

/* Signals are held: for a moment there is no header. */
void sp_recording_cut_off(struct sp_recording *recording)
{
	struct piece pieces[SP_SECTION_COUNT + 1], kept[KEPT_RANGES];
	unsigned int count;
	uint64_t mask;

	if (!recording->header)
		return;
	mask = sp_signals_hold();
	count = list_pieces(recording, pieces);
	list_kept(recording, kept);
	for (unsigned int i = 0; i < count; i++)
		cut_off_piece(recording, &pieces[i], kept);
	recording->is_file = false;
	sp_signals_release(mask);
}
