/*
 * What few frames of a walk need: modules other than that of the frame before, frames
 * that a signal interrupted, reads beyond the known stack, the rarer rules. Context:
 * signal; no lock, no allocation, no system call but for guarded reads.
 */
#include "unwind_step.h"

#include "sp_syscall.h"

#include <dlfcn.h>
#include <sys/uio.h>
#include <ucontext.h>

#pragma weak _dl_find_object

/* So that no mark is what a module has that waits for its mark to grow by 1. */
#define MARK_GONE 2

_Atomic uint64_t sp_unwind_closes;

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

void sp_unwind_regs_to_ucontext(const struct sp_unwind_regs *regs, void *ucontext)
{
	ucontext_t *context = ucontext;

	for (unsigned int i = 0; i < SP_UNWIND_REGS; i++)
		context->uc_mcontext.gregs[greg_of_dwarf[i]] = (greg_t)regs->value[i];
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

bool sp_walk_is_code(const struct sp_walk *walk, uint64_t address)
{
	const struct sp_unwind_module *module =
		sp_unwind_find_module(walk->snapshot, address);

	return module ? sp_walk_is_in_text(module, address)
		      : is_in_code_ranges(walk->snapshot, address);
}

bool sp_walk_is_readable_code(const struct sp_walk *walk, uint64_t address)
{
	const struct sp_unwind_module *module =
		sp_unwind_find_module(walk->snapshot, address);

	return module ? module->is_text_readable && sp_walk_is_in_text(module, address)
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
		got = sp_syscall6(SYS_process_vm_readv, sp_syscall0(SYS_gettid),
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

static bool does_loader_know(const struct sp_unwind_module *module, uint64_t address)
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

bool sp_walk_is_still_loaded(const struct sp_unwind_module *module, uint64_t address)
{
	/* Acquire: pairs with who has found that it is gone. */
	return module->mark_seen ==
		       atomic_load_explicit(module->mark, memory_order_acquire) &&
	       does_loader_know(module, address);
}

void sp_unwind_mark_unloaded(void)
{
	/* Sequentially consistent, as the count of the close before: a snapshot that is
	 * published later was published by who has seen that. */
	const struct sp_unwind_snapshot *snapshot = atomic_load(&sp_unwind_snapshot);

	for (uint32_t i = 0; snapshot && i < snapshot->count; i++) {
		const struct sp_unwind_module *module = &snapshot->modules[i];

		if (!module->is_permanent &&
		    !does_loader_know(module, module->text_start))
			atomic_fetch_add(module->mark, MARK_GONE);
	}
}

static bool is_known_to_loader(uint64_t address)
{
	struct dl_find_object object;

	return _dl_find_object &&
	       _dl_find_object((void *)(uintptr_t)address, &object) == 0;
}

SP_SAMPLING enum sp_walk_find sp_walk_find_other(struct sp_walk *walk, uint64_t address)
{
	const struct sp_unwind_module *module = walk->previous;

	walk->previous = walk->module;
	if (!module || !sp_walk_is_in_text(module, address))
		module = sp_unwind_find_module(walk->snapshot, address);
	walk->module = module;
	if (module) {
		if (module->is_permanent)
			return sp_walk_is_in_text(module, address) ? SP_FIND_MODULE
								   : SP_FIND_NOTHING;
		/* Data don't run: another module has come to lie here. */
		return sp_walk_is_in_text(module, address) &&
				       module->closes <= walk->closes &&
				       sp_walk_is_still_loaded(module, address)
			       ? SP_FIND_MODULE
			       : SP_FIND_NOT_YET;
	}
	if (is_in_code_ranges(walk->snapshot, address))
		return SP_FIND_GENERATED;
	if (is_known_to_loader(address))
		return SP_FIND_NOT_YET;
	/* Memory mapped since the last scan, or no code at all. */
	return walk->is_interrupted || sp_walk_has_frame_chain(walk) ? SP_FIND_GENERATED
								     : SP_FIND_NOTHING;
}

/* A register of the frame that was interrupted in ucontext_t. */
static bool read_greg(struct sp_walk *walk, unsigned int reg, uint64_t *value)
{
	return sp_walk_read(walk, walk->gregs + greg_of_dwarf[reg] * SP_RULE_WORD_BYTES,
			    value);
}

SP_COLD enum sp_walk_step sp_walk_step_signal(struct sp_walk *walk)
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

SP_COLD enum sp_walk_step sp_walk_follow_rare(struct sp_walk *walk, uint64_t rule,
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

SP_COLD enum sp_unwind_end sp_walk_end(enum sp_walk_find found, enum sp_walk_step step)
{
	if (found == SP_FIND_NOT_YET)
		return SP_UNWIND_NO_MODULE;
	if (found == SP_FIND_NOTHING)
		return SP_UNWIND_NO_RULE;
	switch (step) {
	case SP_STEP_OUTERMOST:
		return SP_UNWIND_OUTERMOST;
	case SP_STEP_BAD_STACK:
		return SP_UNWIND_BAD_STACK;
	default:
		return SP_UNWIND_NO_RULE;
	}
}

SP_COLD struct sp_walk_code sp_walk_correct(const struct sp_walk *walk,
					    struct sp_walk_code code)
{
	uint64_t pc = walk->pc;

	if (walk->is_interrupted)
		return code;
	if (sp_rule_kind(code.rule) == SP_RULE_SIGNAL) {
		code.frame = sp_walk_encode(walk->module, pc);
	} else if (sp_rule_kind(code.rule) == SP_RULE_NONE &&
		   sp_walk_is_in_text(walk->module, pc)) {
		uint64_t start = sp_walk_encode(walk->module, pc);

		/* Before it there is no code, at it there is: the start of a function,
		 * put there by makecontext() or the like. Nothing called it. */
		if (sp_rule_kind(sp_walk_find_rule(walk->module, pc, start)) !=
		    SP_RULE_NONE) {
			code.frame = start;
			code.rule = SP_RULE_END;
		}
	}
	return code;
}
