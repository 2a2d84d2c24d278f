/*
 * One step of a walk: the module of the pc, the rule of that address (in the shared
 * cache, else from the module's call frame information) and what it makes of the
 * registers. Inline where every frame passes, in unwind_step.c where few do. Context
 * of everything here: signal; no lock, no allocation, no system call.
 */
#ifndef UNWIND_STEP_H
#define UNWIND_STEP_H

#include "unwind_cache.h"
#include "unwind_cfi.h"
#include "unwind_walk.h"

/* Frames of our own that a walk may pass besides those it reports. */
#define SP_WALK_AGENT_FRAMES_MAX 64
#define SP_WALK_STACK_JUMPS_MAX 4

/* What the code at an address is. */
enum sp_walk_find {
	SP_FIND_MODULE,	   /* a module's, as it was when we read it */
	SP_FIND_GENERATED, /* no module's */
	SP_FIND_NOT_YET,   /* of a module that is in no snapshot yet */
	SP_FIND_NOTHING,
};

/* The frame to write for an address, and the rule to step over it by. */
struct sp_walk_code {
	uint64_t frame, rule;
};

/* sp_walk_find() of code that is not in the module of the frame before. */
enum sp_walk_find sp_walk_find_other(struct sp_walk *walk, uint64_t address);

/* Whether the loader still says of address what it said when the module was read, and
 * nobody has marked it as gone since. */
bool sp_walk_is_still_loaded(const struct sp_unwind_module *module, uint64_t address);

/*
 * A return address that no call has pushed, of a signal trampoline or of what a
 * new context starts with: it says itself where it is, not the byte before it.
 */
struct sp_walk_code sp_walk_correct(const struct sp_walk *walk, struct sp_walk_code code);

/* CFA and return address by the rarer rules. */
enum sp_walk_step sp_walk_follow_rare(struct sp_walk *walk, uint64_t rule, uint64_t *cfa,
				      uint64_t *ra);

/* A ucontext_t at rsp: every register is known again. */
enum sp_walk_step sp_walk_step_signal(struct sp_walk *walk);

/* What a walk that cannot go on comes to. */
enum sp_unwind_end sp_walk_end(enum sp_walk_find found, enum sp_walk_step step);

/* The state that the walk from regs starts with. */
static inline void sp_walk_begin(struct sp_walk *walk,
				 const struct sp_unwind_snapshot *snapshot,
				 const struct sp_unwind_regs *regs,
				 const struct sp_unwind_stack *stack)
{
	walk->snapshot = snapshot;
	walk->module = NULL;
	walk->previous = NULL;
	walk->stack_low = stack->low;
	walk->stack_last = stack->high - SP_RULE_WORD_BYTES;
	if (stack->high < stack->low || stack->high - stack->low < SP_RULE_WORD_BYTES) {
		walk->stack_low = 1; /* an empty range */
		walk->stack_last = 0;
	}
	walk->stack_delta = stack->delta;
	walk->is_guarded = stack->is_guarded;
	walk->closes = stack->closes;
	walk->is_live = stack->delta == 0;
	walk->is_interrupted = true;
	walk->stack_jumps_left = SP_WALK_STACK_JUMPS_MAX;
	walk->is_rbp_known = true;
	walk->is_rbx_known = true;
	walk->pc = regs->value[SP_DWARF_RA];
	walk->rsp = regs->value[SP_DWARF_RSP];
	walk->rbp = regs->value[SP_DWARF_RBP];
	walk->rbx = regs->value[SP_DWARF_RBX];
	walk->regs = regs;
	walk->window_words = 0;
	walk->window_start = 0;
}

static inline bool sp_walk_is_in_text(const struct sp_unwind_module *module,
				      uint64_t address)
{
	return address >= module->text_start && address < module->text_end;
}

/* What the code at address is; sets walk->module, NULL for generated code. */
static inline enum sp_walk_find sp_walk_find(struct sp_walk *walk, uint64_t address)
{
	if (sp_likely(walk->module && sp_walk_is_in_text(walk->module, address)))
		return SP_FIND_MODULE;
	return sp_walk_find_other(walk, address);
}

static inline uint64_t sp_walk_encode(const struct sp_unwind_module *module,
				      uint64_t address)
{
	return sp_frame_make(module->id, module->id ? address - module->base : address);
}

static inline uint64_t sp_walk_find_rule(const struct sp_unwind_module *module,
					 uint64_t address, uint64_t frame)
{
	struct sp_cfi_row row;
	uint64_t rule;

	/* Modules beyond the last id have none of their own. */
	if (sp_unlikely(!sp_cache_can_keep(frame)))
		return sp_cfi_find_rule(module, address, &row);
	rule = sp_cache_get(frame);
	if (sp_unlikely(rule == SP_RULE_EMPTY)) {
		rule = sp_cfi_find_rule(module, address, &row);
		sp_cache_put(frame, rule, address - row.start, row.end - 1 - address);
	}
	return rule;
}

/* The code that walk->pc is in, which is found: a module's or generated. */
static inline struct sp_walk_code
sp_walk_code_at(const struct sp_walk *walk, enum sp_walk_find found, uint64_t address)
{
	struct sp_walk_code code;

	if (sp_unlikely(found != SP_FIND_MODULE)) {
		code.frame = sp_frame_make(SP_MODULE_NONE, address);
		code.rule = SP_RULE_NONE;
		return code;
	}
	code.frame = sp_walk_encode(walk->module, address);
	code.rule = sp_walk_find_rule(walk->module, address, code.frame);
	if (sp_unlikely(sp_rule_kind(code.rule) < SP_RULE_CFA_RSP))
		code = sp_walk_correct(walk, code);
	return code;
}

static inline void sp_walk_restore_rbx(struct sp_walk *walk, uint64_t rule, uint64_t cfa)
{
	int64_t offset = sp_rule_rbx_offset_bytes(rule);
	uint64_t from = cfa;

	if (sp_unlikely(rule & SP_RULE_RBX_FROM_RBP)) {
		from = walk->rbp;
		if (offset == 0 || !walk->is_rbp_known) {
			walk->is_rbx_known = false;
			return;
		}
	} else if (offset == 0) {
		return;
	}
	walk->is_rbx_known = sp_walk_read(walk, from + (uint64_t)offset, &walk->rbx);
}

static inline void sp_walk_restore_rbp(struct sp_walk *walk, uint64_t rule, uint64_t cfa)
{
	uint64_t offset = (uint64_t)sp_rule_rbp_offset_bytes(rule);

	switch (sp_rule_rbp(rule)) {
	case SP_RULE_RBP_SAME:
		break;
	case SP_RULE_RBP_AT_CFA:
		walk->is_rbp_known = sp_walk_read(walk, cfa + offset, &walk->rbp);
		break;
	case SP_RULE_RBP_AT_RBP:
		walk->is_rbp_known = walk->is_rbp_known &&
				     sp_walk_read(walk, walk->rbp + offset, &walk->rbp);
		break;
	default:
		walk->is_rbp_known = false;
		break;
	}
}

static inline enum sp_walk_step sp_walk_step_by_rule(struct sp_walk *walk, uint64_t rule)
{
	enum sp_walk_step step;
	uint64_t cfa, ra;

	switch (sp_rule_kind(rule)) {
	case SP_RULE_CFA_RSP:
		cfa = walk->rsp;
		break;
	case SP_RULE_CFA_RBP:
		if (!walk->is_rbp_known)
			return SP_STEP_NO_RULE;
		cfa = walk->rbp;
		break;
	case SP_RULE_NONE:
		return sp_walk_step_unknown(walk);
	case SP_RULE_END:
		return SP_STEP_OUTERMOST;
	case SP_RULE_SIGNAL:
		return sp_walk_step_signal(walk);
	case SP_RULE_CFA_REG:
	case SP_RULE_DEREF:
	case SP_RULE_DEREF_INDEXED:
	case SP_RULE_RA_REG:
		step = sp_walk_follow_rare(walk, rule, &cfa, &ra);
		if (step != SP_STEP_DONE)
			return step;
		goto restore;
	default:
		return SP_STEP_NO_RULE;
	}
	cfa += (uint64_t)sp_rule_cfa_offset_bytes(rule);
	if (cfa <= walk->rsp || !sp_walk_read(walk, cfa - SP_RULE_WORD_BYTES, &ra))
		return SP_STEP_BAD_STACK;
restore:
	/* rbx may be found by the old rbp, hence first. */
	sp_walk_restore_rbx(walk, rule, cfa);
	sp_walk_restore_rbp(walk, rule, cfa);
	walk->rsp = cfa;
	walk->pc = ra;
	walk->is_interrupted = (rule & SP_RULE_INTERRUPTED) != 0;
	if (sp_unlikely(walk->is_interrupted)) {
		walk->regs = NULL; /* nor is there a ucontext_t that we know of */
		walk->gregs = 0;
	}
	return ra ? SP_STEP_DONE : SP_STEP_OUTERMOST;
}

#endif
