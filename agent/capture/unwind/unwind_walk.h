/*
 * One walk in progress, shared by the files that step over a frame. It lives on
 * the stack of the handler: keep it small.
 */
#ifndef UNWIND_WALK_H
#define UNWIND_WALK_H

#include "sp_compiler.h"
#include "unwind_rule.h"

/* The stack of the program is read as it is, red zones of sanitizers included. */
#define SP_UNSANITIZED __attribute__((no_sanitize("address", "thread")))

#define SP_WALK_WINDOW_WORDS 4

/* A return address or stack beyond the range of user space is none. */
#define SP_USER_ADDRESS_MAX ((UINT64_C(1) << 47) - 4096)
#define SP_USER_ADDRESS_MIN UINT64_C(4096)

struct sp_walk {
	const struct sp_unwind_snapshot *snapshot;
	const struct sp_unwind_module *module;	 /* of the frame before, or NULL */
	const struct sp_unwind_module *previous; /* the one before that */
	uint64_t stack_low, stack_last; /* first and last word that may be read */
	int64_t stack_delta;
	uint64_t closes; /* sp_unwind_stack.closes */
	bool is_guarded;
	bool is_live;		  /* the stack is that of a thread stopped right here */
	bool is_interrupted;	  /* pc is an instruction, not a return address */
	uint8_t stack_jumps_left; /* signal frames may change the stack, not for ever */
	bool is_rbp_known, is_rbx_known;
	/* pc and rsp are no neighbours, else gcc would write both by one vector store,
	 * and the next step would have to wait for it. */
	uint64_t pc, rbp, rsp, rbx;
	/* Where all registers of an interrupted frame are: what the walk began with,
	 * or, at NULL, uc_mcontext.gregs on the stack. */
	const struct sp_unwind_regs *regs;
	uint64_t gregs;
	/* The last words read by system call. */
	uint64_t window_start;
	uint32_t window_words;
	uint64_t window[SP_WALK_WINDOW_WORDS];
};

/* Context: signal; one system call. A word outside the known stack. */
bool sp_walk_read_guarded(struct sp_walk *walk, uint64_t address, uint64_t *word);

/* Context: signal. One word of the stack; false, *word untouched, when it must not
 * or cannot be read. */
SP_UNSANITIZED static inline bool sp_walk_read(struct sp_walk *walk, uint64_t address,
					       uint64_t *word)
{
	if (sp_likely(address >= walk->stack_low && address <= walk->stack_last &&
		      address % SP_RULE_WORD_BYTES == 0)) {
		*word = *(const uint64_t *)(uintptr_t)(address +
						       (uint64_t)walk->stack_delta);
		return true;
	}
	return walk->is_guarded && sp_walk_read_guarded(walk, address, word);
}

/* Whether address is in code that we know: a module's text, or readable executable
 * memory of the last scan. Context: signal. */
bool sp_walk_is_code(const struct sp_walk *walk, uint64_t address);

/* Whether memory at address can be looked at, since it is code being executed. */
bool sp_walk_is_readable_code(const struct sp_walk *walk, uint64_t address);

enum sp_walk_step {
	SP_STEP_DONE, /* pc, rsp, ... are the caller's */
	SP_STEP_OUTERMOST,
	SP_STEP_NO_RULE,
	SP_STEP_BAD_STACK,
};

/*
 * Context: signal. Steps over a frame about which nothing is known: by the frame
 * pointer, or for an interrupted function by the instruction it is at.
 */
enum sp_walk_step sp_walk_step_unknown(struct sp_walk *walk);

/*
 * Context: signal. Whether rbp leads on from a return address that lies in no code
 * we know, so that it is most likely one of freshly generated code.
 */
bool sp_walk_has_frame_chain(struct sp_walk *walk);

#endif
