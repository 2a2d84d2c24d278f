/*
 * The walk of a thread that is walked over and over: it remembers the last stack, and
 * from the first frame on that is as it was, looks at the stack's words instead of
 * stepping. What it gives is what sp_unwind() gives, to the frame: a step is a function
 * of the pc, of two registers and of words on the stack, and all of them are compared.
 *
 * A memo is private memory of one thread. Context of everything here: hook.
 */
#ifndef SP_UNWIND_MEMO_H
#define SP_UNWIND_MEMO_H

#include "sp_unwind.h"

struct sp_unwind_memo;

/* A memo for stacks of at most that many frames, or NULL without memory. */
struct sp_unwind_memo *sp_unwind_memo_create(uint32_t depth_frames_max);

void sp_unwind_memo_destroy(struct sp_unwind_memo *memo);

struct sp_unwind_memo_result {
	uint64_t hash; /* of the frames that sp_unwind_memo_copy() gives */
	enum sp_unwind_end end;
	/* How many were found by a step, and how many by a look; our own are counted. */
	uint32_t stepped_frames, spliced_frames;
};

/*
 * Does what sp_unwind() does, which must not run on this memo at the same time. A stack
 * that has no outermost frame here gets a pseudo frame in its place, [truncated] or
 * [incomplete]. Only stacks of known bounds are remembered. Keeps errno.
 */
struct sp_unwind_memo_result sp_unwind_memo_walk(
	struct sp_unwind_memo *memo, const struct sp_unwind_snapshot *snapshot,
	const struct sp_unwind_regs *regs, const struct sp_unwind_stack *stack);

/*
 * For a walk by other means: room for depth_frames_max frames, leaf first, and what
 * sp_unwind_memo_walk() would have given if it had found them. They are not remembered
 * for the next walk.
 */
uint64_t *sp_unwind_memo_room(struct sp_unwind_memo *memo);
struct sp_unwind_memo_result sp_unwind_memo_take(struct sp_unwind_memo *memo,
						 uint32_t frame_count,
						 enum sp_unwind_end end);

/* The same by sp_unwind_libunwind(). */
struct sp_unwind_memo_result
sp_unwind_memo_by_libunwind(struct sp_unwind_memo *memo,
			    const struct sp_unwind_snapshot *snapshot,
			    const struct sp_unwind_regs *regs);

/* The frames of the last walk, pseudo frame included: at most one more than
 * depth_frames_max. */
uint32_t sp_unwind_memo_depth_frames(const struct sp_unwind_memo *memo);

/* Writes them to frames, leaf first. */
void sp_unwind_memo_copy(const struct sp_unwind_memo *memo, uint64_t *frames);

#endif
