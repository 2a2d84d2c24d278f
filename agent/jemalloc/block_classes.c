/*
 * See sp_block_classes.h. The classes are asked for, not known: they are those of
 * whichever jemalloc is linked in. Context: hook.
 */
#include "sp_block_classes.h"

#include "sp_jemalloc.h"

struct sp_block_classes sp_block_classes;

void sp_block_classes_find(void)
{
	struct sp_block_classes *classes = &sp_block_classes;
	size_t bytes = SP_BLOCK_STEP_BYTES, step = 0;
	uint32_t block_class = 1;

	while (bytes <= SP_BLOCK_BYTES_MAX && block_class < SP_BLOCK_CLASSES_MAX) {
		bytes = sp_je_nallocx(bytes, 0);
		/* Nothing that is known of the rest would be true. */
		if (bytes > SP_BLOCK_BYTES_MAX || bytes % SP_BLOCK_STEP_BYTES != 0)
			break;
		classes->bytes[block_class] = (uint32_t)bytes;
		while (step * SP_BLOCK_STEP_BYTES <= bytes)
			classes->of_steps[step++] = (uint8_t)block_class;
		bytes += SP_BLOCK_STEP_BYTES;
		block_class++;
	}
	classes->count = block_class;
}
