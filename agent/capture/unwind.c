/*
 * The walk from frame to frame: finds the module of the pc, the rule of that
 * address (in the shared cache, else from the module's call frame information) and
 * applies it. Context: signal; no lock, no allocation, no system call but for
 * guarded reads, less than 1 KB of stack together with what it calls.
 */
#include "sp_unwind.h"

#include "sp_syscall.h"
#include "unwind_cache.h"
#include "unwind_cfi.h"
#include "unwind_walk.h"

#include <dlfcn.h>
#include <sys/uio.h>
#include <ucontext.h>

#pragma weak _dl_find_object

/* Frames of our own that a walk may pass besides those it reports. */
#define AGENT_FRAMES_MAX 64
#define STACK_JUMPS_MAX 4

_Atomic(const struct sp_unwind_snapshot *) sp_unwind_snapshot;

/* uc_mcontext.gregs index of each DWARF register. */
static const uint8_t greg_of_dwarf[SP_UNWIND_REGS] = {
	REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
	REG_R9,	 REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP,
};

void sp_unwind_regs_from_ucontext(struct sp_unwind_regs *regs, const void *ucontext)
{
	const ucontext_t *context = ucontext;

	for (unsigned int i = 0; i < SP_UNWIND_REGS; i++)
		regs->value[i] = (uint64_t)context->uc_mcontext.gregs[greg_of_dwarf[i]];
}

const struct sp_unwind_module *
sp_unwind_find_module(const struct sp_unwind_snapshot *snapshot, uint64_t address)
{
	const struct sp_unwind_module *module;
	uint32_t count;

	if (!snapshot || snapshot->count == 0)
		return NULL;
	module = snapshot->modules;
	count = snapshot->count;
	while (count > 1) {
		uint32_t half = count / 2;

		if (module[half].start <= address)
			module += half;
		count -= half;
	}
	return address >= module->start && address < module->end ? module : NULL;
}

static bool is_in_code_ranges(const struct sp_unwind_snapshot *snapshot, uint64_t address)
{
	const struct sp_unwind_range *range;
	uint32_t count;

	if (!snapshot || snapshot->code_count == 0)
		return false;
	range = snapshot->code;
	count = snapshot->code_count;
	while (count > 1) {
		uint32_t half = count / 2;

		if (range[half].start <= address)
			range += half;
		count -= half;
	}
	return address >= range->start && address < range->end;
}

static bool is_in_text(const struct sp_unwind_module *module, uint64_t address)
{
	return address >= module->text_start && address < module->text_end;
}

bool sp_walk_is_code(const struct sp_walk *walk, uint64_t address)
{
	const struct sp_unwind_module *module =
		sp_unwind_find_module(walk->snapshot, address);

	return module ? is_in_text(module, address)
		      : is_in_code_ranges(walk->snapshot, address);
}

bool sp_walk_is_readable_code(const struct sp_walk *walk, uint64_t address)
{
	const struct sp_unwind_module *module =
		sp_unwind_find_module(walk->snapshot, address);

	return module ? module->is_text_readable && is_in_text(module, address)
		      : is_in_code_ranges(walk->snapshot, address);
}

SP_COLD bool sp_walk_read_guarded(struct sp_walk *walk, uint64_t address, uint64_t *word)
{
	uint64_t offset = address - walk->window_start;

	if (address % SP_RULE_WORD_BYTES != 0 || address < SP_USER_ADDRESS_MIN ||
	    address > SP_USER_ADDRESS_MAX || walk->stack_delta != 0)
		return false;
	if (offset / SP_RULE_WORD_BYTES >= walk->window_words) {
		/* Up to the end of the page, so that it is all or nothing. */
		uint64_t bytes = 4096 - address % 4096;
		struct iovec local, remote;
		long got;

		if (bytes > sizeof(walk->window))
			bytes = sizeof(walk->window);
		local = (struct iovec){walk->window, bytes};
		remote = (struct iovec){(void *)(uintptr_t)address, bytes};
		walk->window_words = 0;
		got = sp_syscall6(SYS_process_vm_readv, sp_syscall0(SYS_getpid),
				  (long)&local, 1, (long)&remote, 1, 0);
		if (got != (long)bytes)
			return false;
		walk->window_start = address;
		walk->window_words = (uint32_t)(bytes / SP_RULE_WORD_BYTES);
		offset = 0;
	}
	*word = walk->window[offset / SP_RULE_WORD_BYTES];
	return true;
}

/* Whether the loader still says of address what it said when the module was read. */
static bool is_still_loaded(const struct sp_unwind_module *module, uint64_t address)
{
	struct dl_find_object object;

	if (!_dl_find_object)
		return true;
	if (_dl_find_object((void *)(uintptr_t)address, &object) != 0)
		return module->link_map == NULL;
	return object.dlfo_link_map == module->link_map &&
	       (uint64_t)(uintptr_t)object.dlfo_map_start == module->loader_start &&
	       (uint64_t)(uintptr_t)object.dlfo_map_end == module->loader_end &&
	       (uint64_t)(uintptr_t)object.dlfo_eh_frame == module->loader_eh_frame;
}

static bool is_known_to_loader(uint64_t address)
{
	struct dl_find_object object;

	return _dl_find_object &&
	       _dl_find_object((void *)(uintptr_t)address, &object) == 0;
}

enum find_result { FIND_MODULE, FIND_GENERATED, FIND_NOT_YET, FIND_NOTHING };

/* What the code at address is; sets walk->module, NULL for generated code. */
static SP_NOINLINE enum find_result find_other_module(struct sp_walk *walk,
						      uint64_t address)
{
	const struct sp_unwind_module *module = walk->previous;

	walk->previous = walk->module;
	if (!module || !is_in_text(module, address))
		module = sp_unwind_find_module(walk->snapshot, address);
	walk->module = module;
	if (module) {
		if (module->is_permanent)
			return is_in_text(module, address) ? FIND_MODULE : FIND_NOTHING;
		/* Data don't run: another module has come to lie here. */
		return is_in_text(module, address) && is_still_loaded(module, address)
			       ? FIND_MODULE
			       : FIND_NOT_YET;
	}
	if (is_in_code_ranges(walk->snapshot, address))
		return FIND_GENERATED;
	if (is_known_to_loader(address))
		return FIND_NOT_YET;
	/* Memory mapped since the last scan, or no code at all. */
	return walk->is_interrupted || sp_walk_has_frame_chain(walk) ? FIND_GENERATED
								     : FIND_NOTHING;
}

static inline enum find_result find(struct sp_walk *walk, uint64_t address)
{
	if (sp_likely(walk->module && is_in_text(walk->module, address)))
		return FIND_MODULE;
	return find_other_module(walk, address);
}

static inline uint64_t encode(const struct sp_unwind_module *module, uint64_t address)
{
	return sp_frame_make(module->id, module->id ? address - module->base : address);
}

static inline uint64_t find_rule(const struct sp_unwind_module *module, uint64_t address,
				 uint64_t key)
{
	uint64_t rule;

	/* Modules beyond the last id have none of their own, hence no key. */
	if (sp_unlikely(module->id == SP_MODULE_NONE))
		return sp_cfi_find_rule(module, address);
	rule = sp_cache_get(key);
	if (sp_unlikely(rule == SP_RULE_EMPTY)) {
		rule = sp_cfi_find_rule(module, address);
		sp_cache_put(key, rule);
	}
	return rule;
}

/* A register of the frame that was interrupted in ucontext_t. */
static bool read_greg(struct sp_walk *walk, unsigned int reg, uint64_t *value)
{
	return sp_walk_read(walk, walk->gregs + greg_of_dwarf[reg] * SP_RULE_WORD_BYTES,
			    value);
}

/* A ucontext_t at rsp: every register is known again. */
static SP_COLD enum sp_walk_step step_signal(struct sp_walk *walk)
{
	uint64_t rsp = walk->rsp;

	walk->gregs = rsp + offsetof(ucontext_t, uc_mcontext.gregs);
	walk->regs = NULL;
	if (!read_greg(walk, SP_DWARF_RSP, &walk->rsp) ||
	    !read_greg(walk, SP_DWARF_RBP, &walk->rbp) ||
	    !read_greg(walk, SP_DWARF_RBX, &walk->rbx) ||
	    !read_greg(walk, SP_DWARF_RA, &walk->pc))
		return SP_STEP_BAD_STACK;
	/* Down the stack only where the handler had one of its own. */
	if (walk->rsp <= rsp && walk->stack_jumps_left-- == 0)
		return SP_STEP_BAD_STACK;
	walk->is_rbp_known = true;
	walk->is_rbx_known = true;
	walk->is_interrupted = true;
	return SP_STEP_DONE;
}

/* Any register: of a frame that was interrupted all are known, else three. */
static bool read_register(struct sp_walk *walk, unsigned int reg, uint64_t *value)
{
	switch (reg) {
	case SP_DWARF_RSP:
		*value = walk->rsp;
		return true;
	case SP_DWARF_RBP:
		*value = walk->rbp;
		return walk->is_rbp_known;
	case SP_DWARF_RBX:
		*value = walk->rbx;
		return walk->is_rbx_known;
	default:
		if (!walk->is_interrupted)
			return false;
		if (!walk->regs)
			return read_greg(walk, reg, value);
		*value = walk->regs->value[reg];
		return true;
	}
}

/* CFA and return address by the rarer rules. */
static SP_COLD enum sp_walk_step follow_rare(struct sp_walk *walk, uint64_t rule,
					     uint64_t *cfa, uint64_t *ra)
{
	uint64_t offset = (uint64_t)sp_rule_cfa_offset_bytes(rule);
	uint64_t value;

	if (!read_register(walk, sp_rule_reg(rule), &value))
		return SP_STEP_NO_RULE;
	switch (sp_rule_kind(rule)) {
	case SP_RULE_RA_REG:
		*cfa = walk->rsp + offset;
		*ra = value;
		return *cfa >= walk->rsp ? SP_STEP_DONE : SP_STEP_BAD_STACK;
	case SP_RULE_CFA_REG:
		*cfa = value + offset;
		break;
	case SP_RULE_DEREF_INDEXED:
		value = walk->rsp + value * SP_RULE_WORD_BYTES;
		/* fallthrough */
	default: /* SP_RULE_DEREF */
		if (!sp_walk_read(walk, value + offset, cfa))
			return SP_STEP_BAD_STACK;
		*cfa += sp_rule_added_bytes(rule);
		break;
	}
	return *cfa > walk->rsp && sp_walk_read(walk, *cfa - SP_RULE_WORD_BYTES, ra)
		       ? SP_STEP_DONE
		       : SP_STEP_BAD_STACK;
}

static inline void restore_rbx(struct sp_walk *walk, uint64_t rule, uint64_t cfa)
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

static inline void restore_rbp(struct sp_walk *walk, uint64_t rule, uint64_t cfa)
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

static inline enum sp_walk_step step_by_rule(struct sp_walk *walk, uint64_t rule)
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
		return step_signal(walk);
	case SP_RULE_CFA_REG:
	case SP_RULE_DEREF:
	case SP_RULE_DEREF_INDEXED:
	case SP_RULE_RA_REG:
		step = follow_rare(walk, rule, &cfa, &ra);
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
	restore_rbx(walk, rule, cfa);
	restore_rbp(walk, rule, cfa);
	walk->rsp = cfa;
	walk->pc = ra;
	walk->is_interrupted = (rule & SP_RULE_INTERRUPTED) != 0;
	if (sp_unlikely(walk->is_interrupted)) {
		walk->regs = NULL; /* nor is there a ucontext_t that we know of */
		walk->gregs = 0;
	}
	return ra ? SP_STEP_DONE : SP_STEP_OUTERMOST;
}

static void begin(struct sp_walk *walk, const struct sp_unwind_snapshot *snapshot,
		  const struct sp_unwind_regs *regs, const struct sp_unwind_stack *stack)
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
	walk->is_live = stack->delta == 0;
	walk->is_interrupted = true;
	walk->stack_jumps_left = STACK_JUMPS_MAX;
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

static enum sp_unwind_end end_of(enum sp_walk_step step)
{
	switch (step) {
	case SP_STEP_OUTERMOST:
		return SP_UNWIND_OUTERMOST;
	case SP_STEP_BAD_STACK:
		return SP_UNWIND_BAD_STACK;
	default:
		return SP_UNWIND_NO_RULE;
	}
}

/* What a walk that found no code at its pc comes to. */
static SP_COLD enum sp_unwind_end end_without_code(enum find_result found)
{
	return found == FIND_NOT_YET ? SP_UNWIND_NO_MODULE : SP_UNWIND_NO_RULE;
}

/*
 * A return address that no call has pushed, of a signal trampoline or of what a
 * new context starts with: it says itself where it is, not the byte before it.
 */
static SP_COLD void correct_frame(struct sp_walk *walk, uint64_t *frame, uint64_t *rule)
{
	uint64_t pc = walk->pc;

	if (walk->is_interrupted)
		return;
	if (sp_rule_kind(*rule) == SP_RULE_SIGNAL) {
		*frame = encode(walk->module, pc);
	} else if (sp_rule_kind(*rule) == SP_RULE_NONE && is_in_text(walk->module, pc)) {
		uint64_t start = encode(walk->module, pc);

		/* Before it there is no code, at it there is: the start of a function,
		 * put there by makecontext() or the like. Nothing called it. */
		if (sp_rule_kind(find_rule(walk->module, pc, start)) != SP_RULE_NONE) {
			*frame = start;
			*rule = SP_RULE_END;
		}
	}
}

struct sp_unwind_result sp_unwind(const struct sp_unwind_snapshot *snapshot,
				  const struct sp_unwind_regs *regs,
				  const struct sp_unwind_stack *stack, uint64_t *frames,
				  uint32_t max_frames)
{
	struct sp_unwind_result result = {.end = SP_UNWIND_FULL};
	uint32_t steps_left = max_frames + AGENT_FRAMES_MAX;
	uint64_t leaf = sp_frame_make(SP_MODULE_NONE, regs->value[SP_DWARF_RA]);
	struct sp_walk walk;

	if (max_frames == 0)
		return result;
	begin(&walk, snapshot, regs, stack);
	while (steps_left-- > 0) {
		uint64_t pc = walk.pc;
		uint64_t address = pc - !walk.is_interrupted;
		enum find_result found = find(&walk, address);
		uint64_t frame, rule;
		enum sp_walk_step step;

		if (sp_likely(found == FIND_MODULE)) {
			frame = encode(walk.module, address);
			rule = find_rule(walk.module, address, frame);
			if (sp_unlikely(sp_rule_kind(rule) < SP_RULE_CFA_RSP))
				correct_frame(&walk, &frame, &rule);
		} else if (found == FIND_GENERATED) {
			frame = sp_frame_make(SP_MODULE_NONE, address);
			rule = SP_RULE_NONE;
		} else {
			result.end = end_without_code(found);
			break;
		}
		if (sp_unlikely(walk.module && walk.module->is_agent)) {
			/* Kept for a walk that never leaves the agent. */
			if (address == regs->value[SP_DWARF_RA])
				leaf = frame;
		} else if (result.depth_frames == max_frames) {
			break;
		} else {
			frames[result.depth_frames++] = frame;
		}
		step = step_by_rule(&walk, rule);
		if (step != SP_STEP_DONE) {
			result.end = end_of(step);
			break;
		}
	}
	if (sp_unlikely(result.depth_frames == 0))
		frames[result.depth_frames++] = leaf;
	return result;
}
