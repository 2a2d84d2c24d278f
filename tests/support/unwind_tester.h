/*
 * Walks with a memo, each held against the same walk without one; and functions whose
 * frames are awkward. One program includes this once.
 */
#ifndef UNWIND_TESTER_H
#define UNWIND_TESTER_H

#include "sp_unwind_memo.h"
#include "unwind_capture.h"

#define MEMO_FRAMES_MAX 96
#define PROOFS 64

/* One thread's walks. */
struct tester {
	struct sp_unwind_memo *memo, *blank;
	struct sp_unwind_stack stack;
	uint32_t frames_max;
	uint64_t random_state;
	uint64_t compared, different, whole, stepped, spliced;
	struct sp_unwind_memo_result last;
	/* Of earlier stacks, by what told them apart; and how many held again. */
	struct sp_unwind_proof proofs[PROOFS];
	uint64_t held;
};

static _Thread_local struct tester *self;
static const struct sp_unwind_snapshot *from; /* NULL: the one that is published */

static void begin_tester(struct tester *tester, uint32_t frames_max)
{
	memset(tester, 0, sizeof(*tester));
	tester->memo = sp_unwind_memo_create(frames_max);
	tester->blank = sp_unwind_memo_create(frames_max);
	ck_assert(tester->memo && tester->blank);
	tester->frames_max = frames_max;
	tester->stack = own_stack();
	tester->random_state = 1;
	self = tester;
}

static void end_tester(struct tester *tester)
{
	sp_unwind_memo_destroy(tester->memo);
	sp_unwind_memo_destroy(tester->blank);
	self = NULL;
}

static uint32_t random_below(uint32_t limit)
{
	self->random_state = self->random_state * UINT64_C(6364136223846793005) + 1;
	return (uint32_t)(self->random_state >> 33) % limit;
}

/* Whether both have found the same; hash as of a walk that remembers nothing. */
static bool is_same(const struct sp_unwind_memo_result *ours,
		    const struct sp_unwind_result *theirs, uint64_t *their_frames,
		    uint64_t hash)
{
	uint64_t frames[FRAMES_MAX];
	uint32_t depth = theirs->depth_frames;

	if (theirs->end != SP_UNWIND_OUTERMOST)
		their_frames[depth++] = sp_frame_pseudo(theirs->end == SP_UNWIND_FULL
								? SP_PSEUDO_TRUNCATED
								: SP_PSEUDO_INCOMPLETE);
	if (ours->end != theirs->end || ours->hash != hash ||
	    sp_unwind_memo_depth_frames(self->memo) != depth)
		return false;
	sp_unwind_memo_copy(self->memo, frames);
	return memcmp(frames, their_frames, depth * sizeof(frames[0])) == 0;
}

static struct sp_unwind_proof *proof_for(const struct sp_unwind_regs *regs)
{
	return &self->proofs[(regs->value[SP_DWARF_RSP] >> 4 ^ regs->value[SP_DWARF_RA]) %
			     PROOFS];
}

static void compare_within(const struct sp_unwind_regs *regs,
			   const struct sp_unwind_stack *bounds)
{
	const struct sp_unwind_snapshot *modules_now = from ? from : snapshot();
	struct sp_unwind_stack guarded = *bounds;
	struct sp_unwind_proof *proof = proof_for(regs);
	bool is_held = sp_unwind_proof_holds(proof, modules_now, regs, bounds);
	struct sp_unwind_result theirs;
	uint64_t frames[FRAMES_MAX];
	uint64_t hash;

	guarded.is_guarded = true;
	self->last = sp_unwind_memo_walk(self->memo, modules_now, regs, bounds);
	theirs = sp_unwind(modules_now, regs, bounds, frames, self->frames_max);
	hash = theirs.end == SP_UNWIND_OUTERMOST
		       ? sp_unwind_memo_walk(self->blank, modules_now, regs, &guarded)
				 .hash
		       : self->last.hash;
	self->compared++;
	self->whole += theirs.end == SP_UNWIND_OUTERMOST;
	self->stepped += self->last.stepped_frames;
	self->spliced += self->last.spliced_frames;
	self->different += !is_same(&self->last, &theirs, frames, hash);
	self->held += is_held;
	self->different +=
		is_held && (theirs.end != SP_UNWIND_OUTERMOST || proof->hash != hash);
	if (!is_held)
		sp_unwind_memo_prove(self->memo, proof);
}

static SP_NOINLINE void compare(const struct sp_unwind_regs *regs)
{
	struct sp_unwind_stack bounds = self->stack;

	/* As a hook has it: nothing below the stack pointer is looked at. */
	bounds.low = regs->value[SP_DWARF_RSP];
	compare_within(regs, &bounds);
	if (random_below(64) != 0)
		return;
	/* Half of it is out of sight, or in sight by guarded reads alone. */
	bounds.high -= (bounds.high - bounds.low) / 2 & ~UINT64_C(7);
	for (int i = 0; i < 4; i++) {
		bounds.is_guarded = i % 2 == 1;
		compare_within(regs, &bounds);
	}
}

static SP_NOINLINE void compare_here(void)
{
	struct sp_unwind_regs regs;

	sp_unwind_regs_here(&regs);
	compare(&regs);
	if (random_below(32) == 0) {
		struct sp_unwind_regs above = regs;

		/* The caller, as if it were interrupted right after this call. */
		above.value[SP_DWARF_RA] =
			(uint64_t)(uintptr_t)__builtin_return_address(0);
		above.value[SP_DWARF_RSP] = (uint64_t)(uintptr_t)__builtin_dwarf_cfa();
		compare(&above);
		compare(&regs);
	}
	__asm__ volatile("" : : : "memory");
}

static SP_NOINLINE long compare_below(uint32_t left)
{
	if (left == 0)
		compare_here();
	else
		compare_below(left - 1);
	return leaf(left);
}

static void check_tester(const struct tester *tester, uint64_t compared)
{
	ck_assert_uint_ge(tester->compared, compared);
	ck_assert_uint_eq(tester->different, 0);
}

/*
 * Each sets rbp and calls call(left). The first two put a value there that is no
 * address, and save the caller's in different places; the third keeps its frame by it,
 * of that many bytes, a multiple of 16.
 */
long with_value_in_rbp(uint64_t value, long (*call)(uint32_t), uint32_t left);
long with_late_save(uint64_t value, long (*call)(uint32_t), uint32_t left);
long with_frame_in_rbp(uint64_t frame_bytes, long (*call)(uint32_t), uint32_t left);

#define FUNCTION(name, body)                                                             \
	__asm__(".pushsection .text\n"                                                   \
		".type " #name ", @function\n" #name ":\n"                               \
		".cfi_startproc\n" body ".cfi_endproc\n"                                 \
		".size " #name ", . - " #name "\n"                                       \
		".popsection\n")

FUNCTION(with_value_in_rbp, "push %rbp\n"
			    ".cfi_def_cfa_offset 16\n"
			    ".cfi_offset %rbp, -16\n"
			    "mov %rdi, %rbp\n"
			    "mov %edx, %edi\n"
			    "call *%rsi\n"
			    "pop %rbp\n"
			    ".cfi_def_cfa_offset 8\n"
			    "ret\n");

FUNCTION(with_late_save, "sub $24, %rsp\n"
			 ".cfi_def_cfa_offset 32\n"
			 "mov %rbp, (%rsp)\n"
			 ".cfi_offset %rbp, -32\n"
			 "mov %rdi, 8(%rsp)\n"
			 "mov %rdi, %rbp\n"
			 "mov %edx, %edi\n"
			 "call *%rsi\n"
			 "mov (%rsp), %rbp\n"
			 "add $24, %rsp\n"
			 ".cfi_def_cfa_offset 8\n"
			 "ret\n");

FUNCTION(with_frame_in_rbp, "push %rbp\n"
			    ".cfi_def_cfa_offset 16\n"
			    ".cfi_offset %rbp, -16\n"
			    "mov %rsp, %rbp\n"
			    ".cfi_def_cfa_register %rbp\n"
			    "sub %rdi, %rsp\n"
			    "mov %edx, %edi\n"
			    "call *%rsi\n"
			    "leave\n"
			    ".cfi_def_cfa %rsp, 8\n"
			    "ret\n");

#endif
