/*
 * The heap part of the recording: which blocks were sampled, where they were
 * allocated, and what became of them.
 *
 * A hook that samples a block finds or adds its stack and its heap cell, then
 * adds a live block. When the block is freed, one store turns the live block into a
 * freed one, which keeps what the sums need; the consumer adds it to its cell in
 * one journal change and only then gives the entry back. So a block is counted
 * exactly once at any moment: allocated = sums of the cell + its blocks in the
 * table, in use = its live blocks.
 *
 * Sizes are kept, weights are not: whoever adds up unbiases each sample first
 * (sp_poisson.h), then sums.
 */
#ifndef SP_RECORDING_HEAP_H
#define SP_RECORDING_HEAP_H

#include "sp_recording.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Frames follow, sp_frame.h, leaf first. Offsets count words of the section. */
struct sp_heap_stack {
	uint64_t hash;
	uint32_t frame_count;
	uint32_t unused;
	uint64_t frames[];
};
#define SP_HEAP_STACK_WORDS 2U

/* Heap cell 0: blocks whose stack found no room. */
#define SP_HEAP_CELL_DROPPED 0U

/*
 * One stack and size class. Filled by the hook that meets it first and published by
 * is_filled. The sums are of blocks that have been freed and absorbed: written by
 * the consumer alone, in journal changes; those marked "double" hold its bits.
 */
struct sp_heap_cell {
	_Atomic uint32_t is_filled;
	uint32_t stack;			    /* word offset in the heap stacks */
	uint64_t hash;			    /* of stack, class and labels */
	uint64_t size_class_bytes;	    /* upper bound of the class; 0 = no class */
	uint32_t labels;		    /* 0 = none */
	_Atomic uint32_t untracked_samples; /* by hooks, as what is last */
	_Atomic uint64_t freed_samples;
	_Atomic uint64_t freed_objects, freed_bytes; /* double, estimates */
	_Atomic uint64_t age_cycles;		     /* double: objects times age */
	_Atomic uint64_t short_objects, short_bytes; /* double: died young */
	_Atomic uint64_t cross_objects;		     /* double: freed elsewhere */
	_Atomic uint64_t peak_epoch;		     /* what the next two belong to */
	_Atomic uint64_t peak_objects, peak_bytes;   /* double */
	/* By hooks: blocks that could not be followed, in 1/256 objects and bytes. */
	_Atomic uint64_t untracked_objects_q8, untracked_bytes;
};
_Static_assert(sizeof(struct sp_heap_cell) == 128,
	       "heap cell size is part of the layout");

/* Younger than this at its end: short-lived. */
#define SP_HEAP_SHORT_NS UINT64_C(1000000)
/* Before anybody has measured it. */
#define SP_HEAP_CYCLES_PER_SECOND_GUESS 2.5e9

/* Context: signal. */
static inline double sp_heap_short_cycles(const struct sp_recording_header *header)
{
	uint64_t measured = sp_atomic_value(&header->cycles_per_second);
	double per_second = measured ? (double)measured : SP_HEAP_CYCLES_PER_SECOND_GUESS;

	return (double)SP_HEAP_SHORT_NS * per_second / 1e9;
}

/* Context: signal. Of a block that was freed at this age. */
static inline bool sp_heap_is_short_lived(const struct sp_recording_header *header,
					  double age_cycles)
{
	return age_cycles < sp_heap_short_cycles(header);
}

enum sp_live_state {
	SP_LIVE_FREE = 0,
	SP_LIVE_CLAIMED, /* being written, or absorbed and about to be free */
	SP_LIVE_LIVE,	 /* a block in use; address 0: inside realloc at this moment */
	SP_LIVE_FREED,	 /* to be absorbed */
};

/*
 * One sampled block. word is the only thing that changes after it was published:
 *
 *   LIVE    address << 2 | state
 *   FREED   epoch at its end << 27 | age << 3 | freed by another thread << 2 | state
 */
struct sp_live_block {
	_Atomic uint64_t word;
	uint64_t size_and_thread; /* thread << 48 | size_bytes */
	uint32_t cell;
	uint32_t span;		  /* generation << 18 | span table index + 1; 0 = none */
	uint64_t birth_and_epoch; /* birth << 20 | epoch */
};
_Static_assert(sizeof(struct sp_live_block) == 32,
	       "live block size is part of the layout");

#define SP_LIVE_STATE_MASK UINT64_C(3)
#define SP_LIVE_CROSS (UINT64_C(1) << 2)
#define SP_LIVE_AGE_SHIFT 3
#define SP_LIVE_AGE_MASK UINT64_C(0xffffff)
#define SP_LIVE_EPOCH_SHIFT 27
#define SP_HEAP_EPOCH_BITS 20U
#define SP_HEAP_EPOCH_MASK ((UINT64_C(1) << SP_HEAP_EPOCH_BITS) - 1)
#define SP_HEAP_SIZE_MASK ((UINT64_C(1) << 48) - 1)
/* Births count in this many cycles: 44 bits last for months. */
#define SP_HEAP_BIRTH_SHIFT 10

/*
 * The high-water mark of the estimated live bytes and how often it moved, in one word,
 * so that no reader sees one without the other. Each mark is 1/1024 above the last,
 * and at least a byte: there are some 25,000 at most, and epochs never wrap.
 */
static inline uint64_t sp_heap_mark_epoch(uint64_t mark)
{
	return mark & SP_HEAP_EPOCH_MASK;
}

static inline uint64_t sp_heap_mark_bytes(uint64_t mark)
{
	return mark >> SP_HEAP_EPOCH_BITS;
}

/*
 * Freed blocks need not wait in the table for the consumer, who may not be running: a
 * thread adds them up itself, a line for each cell it frees blocks of, and the consumer
 * moves what is new in a line to the cell. A line's sums only grow, also when the line
 * goes on to another cell, which it may when the consumer has taken over all of it. A
 * thread has as many batches as it needs for its cells, most have one.
 *
 * One free is one change, which its thread writes down first: the line's new sums,
 * and the block's entry with the word it has until it is free. Whoever opens the
 * recording of a killed process carries it out; the entry only if it still has that
 * word, as its address cannot be another block's before the thread has gone on.
 */
#define SP_HEAP_BATCH_LINES 16U
#define SP_HEAP_BATCH_WAYS 4U

/* Estimates, the bits of doubles, but for the number of samples and the epoch. */
enum sp_heap_sum {
	SP_HEAP_SUM_SAMPLES,
	SP_HEAP_SUM_OBJECTS,
	SP_HEAP_SUM_BYTES,
	SP_HEAP_SUM_BIRTHS, /* objects times age in units of births */
	SP_HEAP_SUM_SHORT_OBJECTS,
	SP_HEAP_SUM_SHORT_BYTES,
	SP_HEAP_SUM_CROSS_OBJECTS,
	SP_HEAP_SUM_PEAK_EPOCH, /* what the next two belong to; a whole epoch */
	SP_HEAP_SUM_PEAK_OBJECTS,
	SP_HEAP_SUM_PEAK_BYTES,
	SP_HEAP_SUMS
};

struct sp_heap_batch_line {
	_Atomic uint64_t sums[SP_HEAP_SUMS];	 /* by its thread */
	_Atomic uint64_t absorbed[SP_HEAP_SUMS]; /* by the consumer */
};

struct sp_heap_batch {
	_Atomic uint64_t sequence; /* odd: the change below is to be carried out */
	uint64_t line, block;	   /* indexes */
	uint64_t block_word;	   /* of the block that is freed */
	uint64_t sums[SP_HEAP_SUMS];
	_Atomic uint32_t cells[SP_HEAP_BATCH_LINES]; /* cell + 1; 0 = none */
	struct sp_heap_batch_line lines[SP_HEAP_BATCH_LINES];
	uint64_t unused[2];
};
_Static_assert(sizeof(struct sp_heap_batch) == 2752, "batch size is part of the layout");

/*
 * Whoever looks at all tables while the program runs holds them first: blocks that were
 * allocated until then are left in the live table when they are freed, and the consumer
 * takes nothing out of the tables. So whoever reads the sums and then the live table
 * meets each of these blocks once, and no younger one twice. A reader that is killed is
 * waited for no longer than this, in cycles.
 */
#define SP_HEAP_HOLD_CYCLES_MAX (UINT64_C(1) << 33)

/* Context: signal. Is it held, at that time? */
static inline bool sp_heap_is_held(uint64_t held_at_cycles, uint64_t now_cycles)
{
	return held_at_cycles && now_cycles - held_at_cycles < SP_HEAP_HOLD_CYCLES_MAX;
}

/* Context: collector. cycles: now; 0: it is over. */
static inline void sp_heap_hold_at(struct sp_recording_header *header, uint64_t cycles)
{
	atomic_store(&header->heap_held_at, cycles);
}

/* Context: signal. In the unit of births. */
static inline uint64_t sp_heap_births_at(const struct sp_recording_header *header,
					 uint64_t cycles)
{
	return (cycles - header->start_cycles) >> SP_HEAP_BIRTH_SHIFT &
	       UINT64_MAX >> SP_HEAP_EPOCH_BITS;
}

/*
 * The live table is open addressing in levels, each four times the last, one after
 * the other in the section; a level exists when all of it is reserved. A block lies in
 * the bucket of its address in one of the levels. Where every block is sampled, blocks
 * lie anywhere among the used items of the section.
 */
#define SP_LIVE_BUCKET_BLOCKS 8U
#define SP_LIVE_LEVEL0_BLOCKS 1024U
#define SP_LIVE_LEVELS_MAX 10U

/* Context: signal. Blocks of levels 0 .. levels - 1. */
static inline uint64_t sp_live_blocks_of_levels(uint32_t levels)
{
	return SP_LIVE_LEVEL0_BLOCKS * (((UINT64_C(1) << (2 * levels)) - 1) / 3);
}

/* Context: signal. Levels that are complete in so many reserved blocks. */
static inline uint32_t sp_live_levels_in(uint64_t blocks)
{
	uint64_t powers = blocks / SP_LIVE_LEVEL0_BLOCKS * 3 + 1;
	uint32_t levels = (63U - (uint32_t)__builtin_clzll(powers)) / 2;

	return levels < SP_LIVE_LEVELS_MAX ? levels : SP_LIVE_LEVELS_MAX;
}

/* Context: signal. So many entries are to be looked at, of which any may be free. */
static inline uint64_t sp_live_blocks(const struct sp_recording *recording)
{
	uint64_t reserved = sp_recording_reserved(recording, SP_SECTION_LIVE_BLOCKS);

	if (recording->header->heap_rate_bytes == 1)
		return reserved;
	return sp_live_blocks_of_levels(sp_live_levels_in(reserved));
}

/* Ages in 24 bits, exponent 6 and mantissa 18: exact to 1 in 262,144. Context: signal. */
static inline uint64_t sp_heap_age_pack(uint64_t age)
{
	uint32_t exponent = 0;

	if (age >= UINT64_C(1) << 18)
		exponent = 46U - (uint32_t)__builtin_clzll(age);
	return (uint64_t)exponent << 18 | (age >> exponent & 0x3ffff);
}

static inline uint64_t sp_heap_age_unpack(uint64_t packed)
{
	return (packed & 0x3ffff) << (packed >> 18 & 0x3f);
}

#endif
