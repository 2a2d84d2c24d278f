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

#include <stdbool.h>
#include <stdint.h>

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

/* A word of the stack, and what it was. */
struct sp_unwind_word {
	uint64_t address, value;
};

/*
 * All that a stack follows from: where these registers and words are as they were, with
 * the same modules around, a walk would find the same frames. Longer stacks have none.
 */
#define SP_UNWIND_PROOF_WORDS 112U
#define SP_UNWIND_PROOF_MODULES 6U

struct sp_unwind_proof {
	uint64_t hash; /* of the frames */
	uint64_t generation, stack_high;
	uint64_t pc, rsp, rbp;
	bool depends_on_rbp;
	uint32_t module_count, word_count;
	/* Those that may be unloaded, and an address in each. */
	struct {
		const struct sp_unwind_module *module;
		uint64_t address;
	} modules[SP_UNWIND_PROOF_MODULES];
	/* From the leaf on; the last may be there several times. */
	struct sp_unwind_word words[SP_UNWIND_PROOF_WORDS];
};

/* Of the last walk. False, and the proof is of nothing: it has none. */
bool sp_unwind_memo_prove(const struct sp_unwind_memo *memo,
			  struct sp_unwind_proof *proof);

/* Would a walk from here find the same? */
bool sp_unwind_proof_holds(const struct sp_unwind_proof *proof,
			   const struct sp_unwind_snapshot *snapshot,
			   const struct sp_unwind_regs *regs,
			   const struct sp_unwind_stack *stack);

/* The frames of the last walk, pseudo frame included: at most one more than
 * depth_frames_max. */
uint32_t sp_unwind_memo_depth_frames(const struct sp_unwind_memo *memo);

/* Writes them to frames, leaf first. */
void sp_unwind_memo_copy(const struct sp_unwind_memo *memo, uint64_t *frames);

#endif
