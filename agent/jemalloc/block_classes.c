/*
 * See sp_block_classes.h. The classes are asked for, not known: they are those of
 * whichever jemalloc is linked in. Context: hook.
 */
#include "sp_block_classes.h"

#include "sp_jemalloc.h"

struct sp_block_classes sp_block_classes;

/* Of what is not longer, and of longer blocks. */
static size_t step_bytes_of(size_t size_bytes)
{
	return size_bytes <= SP_BLOCK_SHORT_STEP_BYTES_MAX ? SP_BLOCK_STEP_BYTES
							   : SP_BLOCK_LONG_STEP_BYTES;
}

void sp_block_classes_find(void)
{
	struct sp_block_classes *classes = &sp_block_classes;
	size_t bytes = SP_BLOCK_STEP_BYTES, step = 0, long_step = 0;
	uint32_t block_class = 1;

	while (bytes <= SP_BLOCK_BYTES_MAX && block_class < SP_BLOCK_CLASSES_MAX) {
		bytes = sp_je_nallocx(bytes, 0);
		/* Nothing that is known of the rest would be true. */
		if (bytes > SP_BLOCK_BYTES_MAX || bytes % step_bytes_of(bytes) != 0)
			break;
		classes->bytes[block_class] = (uint32_t)bytes;
		for (; step < SP_ARRAY_COUNT(classes->of_steps) &&
		       step * SP_BLOCK_STEP_BYTES <= bytes;
		     step++)
			classes->of_steps[step] = (uint8_t)block_class;
		for (; long_step * SP_BLOCK_LONG_STEP_BYTES <= bytes; long_step++)
			classes->of_long_steps[long_step] = (uint8_t)block_class;
		bytes += SP_BLOCK_STEP_BYTES;
		block_class++;
	}
	classes->count = block_class;
}

/* By whomever has one of the page's blocks. */
static void count_sampled(_Atomic uint8_t *page, uint8_t byte, bool is_sampled)
{
	uint32_t samples;

	do {
		samples = byte >> SP_BLOCK_CLASS_BITS;
		if (samples == SP_BLOCK_SAMPLES_MAX || (!samples && !is_sampled))
			return;
		samples = is_sampled ? samples + 1 : samples - 1;
	} while (!atomic_compare_exchange_weak_explicit(
		page, &byte,
		(uint8_t)(samples << SP_BLOCK_CLASS_BITS | byte % SP_BLOCK_CLASSES_MAX),
		memory_order_relaxed, memory_order_relaxed));
}

bool sp_block_note_sampled(const void *ptr, bool is_sampled)
{
	_Atomic uint8_t *page;
	uint8_t byte;

	if (!sp_alloc_jemalloc_owns(ptr))
		return false;
	page = sp_block_page(ptr);
	byte = atomic_load_explicit(page, memory_order_relaxed);
	if (!sp_block_is_alone(byte)) {
		count_sampled(page, byte, is_sampled);
		return false;
	}
	byte %= SP_BLOCK_CLASSES_MAX;
	if (is_sampled)
		byte += SP_BLOCK_CLASSES_MAX;
	atomic_store_explicit(page, byte, memory_order_relaxed);
	return true;
}

bool sp_block_is_noted(const void *ptr)
{
	uint32_t byte;

	if (!sp_alloc_jemalloc_owns(ptr))
		return false;
	byte = sp_block_page_byte(ptr);
	return byte >= SP_BLOCK_CLASSES_MAX && sp_block_is_alone(byte);
}
