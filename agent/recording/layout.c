/*
 * How the address space of a recording is shared out among its sections. The
 * shares add up to more than the storage limit on purpose: which section needs
 * the storage is only known when the program runs. What a section has from the
 * beginning is little, for each page of it costs every start and end of a program some
 * 3 us: it is what a short program needs, and a little more than what is kept ahead
 * (heap_absorb.c, span_absorb.c, collector.c). Context: signal.
 */
#include "layout.h"

#include "sp_recording_heap.h"
#include "sp_recording_span.h"

#include "sp_compiler.h"
#include "sp_pages.h"

static uint64_t at_most(uint64_t value, uint64_t limit)
{
	return value < limit ? value : limit;
}

static uint64_t at_least(uint64_t value, uint64_t limit)
{
	return value > limit ? value : limit;
}

void sp_layout_compute(struct sp_layout *layout, uint64_t storage_bytes_max)
{
	const uint64_t bytes = storage_bytes_max;
	const struct {
		uint64_t item_bytes, capacity_items, first_items;
	} wanted[SP_SECTION_COUNT] = {
		[SP_SECTION_GROUPS] = {sizeof(struct sp_group), SP_GROUPS, SP_GROUPS},
		[SP_SECTION_SLOTS] = {sizeof(struct sp_slot),
				      at_most(bytes / 16 / sizeof(struct sp_slot), 65536),
				      64},
		[SP_SECTION_MODULES] = {sizeof(struct sp_module_record),
					at_least(at_most(bytes / 64 / 120, 65533), 256),
					64},
		[SP_SECTION_STRINGS] = {1, at_least(bytes / 64, 65536), 8192},
		[SP_SECTION_RINGS_LARGE] =
			{SP_RING_LARGE_BYTES,
			 at_most(at_least(bytes / 16 / SP_RING_LARGE_BYTES, 1), 64), 2},
		[SP_SECTION_RINGS_SMALL] = {SP_RING_SMALL_BYTES,
					    at_most(bytes / 4 * 3 / SP_RING_SMALL_BYTES,
						    16384),
					    0},
		[SP_SECTION_NODES] = {sizeof(struct sp_node),
				      at_most(bytes / 2 / sizeof(struct sp_node),
					      UINT32_MAX),
				      512},
		[SP_SECTION_CELLS] = {sizeof(struct sp_cell),
				      at_most(bytes / 4 / sizeof(struct sp_cell),
					      UINT32_MAX),
				      170},
		[SP_SECTION_HEAP_STACKS] = {sizeof(uint64_t),
					    at_most(bytes / 2 / sizeof(uint64_t),
						    UINT32_MAX),
					    2048},
		[SP_SECTION_HEAP_CELLS] = {sizeof(struct sp_heap_cell),
					   at_most(bytes / 4 /
							   sizeof(struct sp_heap_cell),
						   UINT32_MAX),
					   128},
		[SP_SECTION_LIVE_BLOCKS] =
			{sizeof(struct sp_live_block),
			 at_least(sp_live_blocks_of_levels(sp_live_levels_in(
					  bytes / sizeof(struct sp_live_block))),
				  SP_LIVE_LEVEL0_BLOCKS),
			 SP_LIVE_LEVEL0_BLOCKS},
		[SP_SECTION_SPAN_TEXT] = {1, at_least(bytes / 16, 65536), 4096},
		[SP_SECTION_CALLSITES] = {sizeof(struct sp_callsite),
					  at_most(bytes / 64 / sizeof(struct sp_callsite),
						  65536),
					  128},
		[SP_SECTION_SPAN_PATHS] =
			{sizeof(struct sp_span_path),
			 at_most(bytes / 16 / sizeof(struct sp_span_path), 1048576), 32},
		[SP_SECTION_LABEL_SETS] =
			{sizeof(struct sp_label_set),
			 at_most(bytes / 8 / sizeof(struct sp_label_set), 1048576), 36},
		[SP_SECTION_HEAP_BATCHES] =
			{sizeof(struct sp_heap_batch),
			 at_most(bytes / 2 / sizeof(struct sp_heap_batch), 65535), 4},
		[SP_SECTION_SPANS] = {sizeof(struct sp_span),
				      at_most(bytes / 4 / sizeof(struct sp_span), 262143),
				      64},
	};
	uint64_t offset = SP_HEADER_BYTES;

	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		layout->sections[kind].offset = offset;
		layout->sections[kind].item_bytes = wanted[kind].item_bytes;
		layout->sections[kind].capacity_items = wanted[kind].capacity_items;
		layout->sections[kind].first_items =
			at_most(wanted[kind].first_items, wanted[kind].capacity_items);
		offset +=
			SP_ROUND_UP(wanted[kind].item_bytes * wanted[kind].capacity_items,
				    SP_PAGE_BYTES);
	}
	layout->total_bytes = offset;
}
