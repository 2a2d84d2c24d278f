/*
 * The last stack of a thread, root first, so that what changes is at its end. A new walk
 * steps from the leaf until it is in a state that an entry was made from. If then all
 * words that the old walk read from there on are what they were, the rest is as it was.
 * Context: hook.
 *
 * A state is pc, rsp and rbp, and rbp only as far as any later step depends on it: a
 * loop counter that a function keeps there tells nothing about the stack. Steps that
 * depend on more are never left out, nor are those on their leaf side.
 */
#include "sp_unwind_memo.h"

#include "sp_intern.h"
#include "sp_pages.h"
#include "unwind_memo_entries.h"
#include "unwind_step.h"

#define HASH_OF_NOTHING UINT64_C(0x5bd1e9955bd1e995)

/* No frame: our own are left out of stacks. */
#define FRAME_NONE UINT64_MAX

/* A frame stepped over in this walk, leaf first. */
struct sp_memo_step {
	uint64_t key, pc, rbp;
	uint64_t frame, rule;
	const struct sp_unwind_module *module;
};

struct sp_unwind_memo *sp_unwind_memo_create(uint32_t depth_frames_max)
{
	size_t capacity = (size_t)depth_frames_max + SP_WALK_AGENT_FRAMES_MAX + 2;
	size_t entries_bytes = capacity * sizeof(struct sp_memo_entry);
	size_t steps_bytes = capacity * sizeof(struct sp_memo_step);
	size_t size_bytes = sizeof(struct sp_unwind_memo) + entries_bytes + steps_bytes +
			    capacity * sizeof(struct sp_memo_run);
	struct sp_unwind_memo *memo = sp_pages_map(size_bytes);

	if (!memo)
		return NULL;
	memo->depth_frames_max = depth_frames_max;
	memo->size_bytes = size_bytes;
	memo->steps = (struct sp_memo_step *)(memo->entries + capacity);
	memo->runs = (struct sp_memo_run *)(memo->steps + capacity);
	return memo;
}

void sp_unwind_memo_destroy(struct sp_unwind_memo *memo)
{
	if (memo)
		sp_pages_unmap(memo, memo->size_bytes);
}

/* Grows from frame to frame as rsp does. */
static inline uint64_t key_of(const struct sp_walk *walk)
{
	return walk->rsp << 1 | walk->is_interrupted;
}

/* --- what may be left out --- */

/* Whether the walk is where an entry was made; from the root on, *left of them may
 * still be met. */
static inline bool is_met(const struct sp_walk *walk, const struct sp_memo_entry *entries,
			  uint32_t *left)
{
	uint64_t key = key_of(walk);
	const struct sp_memo_entry *entry;

	while (entries[*left - 1].key < key) {
		if (--*left == 0)
			return false;
	}
	entry = &entries[*left - 1];
	return entry->key == key && entry->pc == walk->pc &&
	       (entry->rbp_slot == SP_MEMO_RBP_UNUSED ||
		(walk->is_rbp_known && entry->rbp == walk->rbp));
}

/*
 * How many of the count entries from the root on can be met with all the rest as it
 * was. The words lie between the stack pointer and the end of the stack: place() and
 * usable_entries() see to that.
 */
SP_UNSANITIZED static inline uint32_t verify_words(const struct sp_memo_entry *entries,
						   uint32_t count)
{
	const struct sp_memo_entry *entry = entries, *last = entries + (count - 1);

	for (; entry < last; entry++) {
		if (sp_memo_word_at(sp_memo_rsp_of(entry->key) - SP_RULE_WORD_BYTES) !=
			    entry->pc ||
		    (entry->rbp_slot > SP_MEMO_RBP_UNUSED &&
		     sp_memo_word_at(entry->rbp_slot) != entry->rbp))
			return (uint32_t)(entry - entries) + 1;
	}
	return count;
}

static SP_NOINLINE uint32_t verify_modules(const struct sp_unwind_memo *memo,
					   uint32_t count)
{
	const struct sp_unwind_module *loaded = NULL;

	for (uint32_t i = 0; i < memo->run_count && memo->runs[i].first < count; i++) {
		const struct sp_memo_run *run = &memo->runs[i];

		if (run->module == loaded)
			continue;
		if (!sp_walk_is_still_loaded(
			    run->module, sp_memo_address_of(&memo->entries[run->first])))
			return (uint32_t)run->first;
		loaded = run->module;
	}
	return count;
}

static inline uint32_t verify(const struct sp_unwind_memo *memo, uint32_t count)
{
	count = verify_words(memo->entries, count);
	return sp_likely(memo->run_count == 0) ? count : verify_modules(memo, count);
}

/* How many entries of the last walk this one can be compared with. */
static inline uint32_t usable_entries(const struct sp_unwind_memo *memo,
				      const struct sp_walk *walk, uint64_t stack_high)
{
	if (!walk->snapshot || walk->snapshot->generation != memo->generation ||
	    stack_high != memo->stack_high || walk->rsp < walk->stack_low ||
	    walk->is_guarded || !walk->is_live)
		return 0;
	return memo->spliceable_count;
}

/* --- what the walk has found --- */

/* Whether this step depends on rbp, or one of those that come after it by way of it. */
static bool needs_rbp(uint64_t rule, bool is_needed_above)
{
	switch (sp_rule_kind(rule)) {
	case SP_RULE_CFA_RSP:
		return is_needed_above && (sp_rule_rbp(rule) == SP_RULE_RBP_SAME ||
					   sp_rule_rbp(rule) == SP_RULE_RBP_AT_RBP);
	case SP_RULE_END:
		return false;
	default:
		return true;
	}
}

/* Where the step, which led to cfa, read the rbp of the frame above. */
static uint64_t find_rbp_slot(const struct sp_memo_step *step, uint64_t cfa)
{
	uint64_t offset = (uint64_t)sp_rule_rbp_offset_bytes(step->rule);

	if (sp_rule_kind(step->rule) == SP_RULE_NONE)
		return step->rbp;
	switch (sp_rule_rbp(step->rule)) {
	case SP_RULE_RBP_AT_CFA:
		return cfa + offset;
	case SP_RULE_RBP_AT_RBP:
		return step->rbp + offset;
	default:
		return SP_MEMO_RBP_KEPT;
	}
}

/* Whether the step is a function of pc, rsp, rbp and the two words above, in a frame
 * that is not the root. */
static bool is_plain(const struct sp_walk *walk, const struct sp_memo_step *step)
{
	switch (sp_rule_kind(step->rule)) {
	case SP_RULE_CFA_RSP:
	case SP_RULE_CFA_RBP:
		return !(step->rule & SP_RULE_INTERRUPTED);
	case SP_RULE_NONE:
		/* By the frame pointer, unless there is an instruction to look at; and
		 * from code that was there at the last scan, as others are judged by
		 * the stack. */
		return !(step->key & 1) && sp_walk_is_code(walk, step->pc - 1);
	default:
		return false;
	}
}

/* Entry number at is in a module that may go, and the one before is not in it. */
static void note_module(struct sp_unwind_memo *memo, const struct sp_memo_step *step,
			uint32_t at)
{
	if (!step->module || step->module->is_permanent)
		return;
	if (at > 0 && step->module->id != SP_MODULE_NONE &&
	    sp_frame_module(memo->entries[at - 1].frame) == step->module->id)
		return;
	memo->runs[memo->run_count++] = (struct sp_memo_run){step->module, at};
}

/*
 * Puts the count steps on top of the kept entries. Returns how many entries from the
 * root on a walk may end with.
 */
static uint32_t place(struct sp_unwind_memo *memo, const struct sp_walk *walk,
		      uint32_t kept, uint32_t count)
{
	struct sp_memo_entry *entries = memo->entries;
	uint64_t hash = kept ? entries[kept - 1].hash : HASH_OF_NOTHING;
	bool is_needed = kept && entries[kept - 1].rbp_slot != SP_MEMO_RBP_UNUSED;
	uint32_t at = kept, plain = kept;

	while (memo->run_count && memo->runs[memo->run_count - 1].first >= kept)
		memo->run_count--;
	for (const struct sp_memo_step *step = memo->steps + count; step-- > memo->steps;
	     at++) {
		bool is_so = at > 0 ? is_plain(walk, step)
				    : sp_rule_kind(step->rule) == SP_RULE_END;

		if (at > 0 && is_needed) {
			uint64_t slot =
				find_rbp_slot(step, sp_memo_rsp_of(entries[at - 1].key));

			entries[at - 1].rbp_slot = slot;
			/* Saved below its own frame it may be out of sight next time. */
			is_so = is_so && (slot == SP_MEMO_RBP_KEPT ||
					  slot >= sp_memo_rsp_of(step->key));
		}
		if (is_so && plain == at)
			plain++;
		is_needed = needs_rbp(step->rule, is_needed);
		if (step->frame != FRAME_NONE)
			hash = sp_intern_mix(hash, step->frame);
		note_module(memo, step, at);
		entries[at] = (struct sp_memo_entry){
			.key = step->key,
			.pc = step->pc,
			.rbp = step->rbp,
			.rbp_slot = is_needed ? SP_MEMO_RBP_KEPT : SP_MEMO_RBP_UNUSED,
			.frame = step->frame,
			.hash = hash,
		};
	}
	memo->entry_count = at;
	return plain;
}

static inline void push(struct sp_unwind_memo *memo, uint32_t *count,
			const struct sp_walk *walk, uint64_t frame, uint64_t rule)
{
	memo->steps[(*count)++] = (struct sp_memo_step){
		.key = key_of(walk),
		.pc = walk->pc,
		.rbp = walk->rbp,
		.frame = frame,
		.rule = rule,
		.module = walk->module,
	};
}

/* What stands for a frame to report, and for the rest of a stack that was not walked to
 * its end. */
static SP_COLD void push_substitutes(struct sp_unwind_memo *memo, uint32_t *count,
				     struct sp_walk *walk, uint64_t leaf,
				     enum sp_unwind_end end)
{
	walk->module = NULL;
	if (leaf != FRAME_NONE)
		push(memo, count, walk, leaf, SP_RULE_BAD);
	if (end != SP_UNWIND_OUTERMOST)
		push(memo, count, walk,
		     sp_frame_pseudo(end == SP_UNWIND_FULL ? SP_PSEUDO_TRUNCATED
							   : SP_PSEUDO_INCOMPLETE),
		     SP_RULE_BAD);
}

/* An outermost frame of our own: no stack may end with those entries alone. */
static bool has_own_root(const struct sp_unwind_memo *memo)
{
	const struct sp_memo_entry *root = memo->entries;

	return (root->pc ? root : root + 1)->frame == FRAME_NONE;
}

/* The walk is over, its steps are pushed. leaf: what to report instead of nothing, or
 * FRAME_NONE. */
static inline void remember(struct sp_unwind_memo *memo, struct sp_walk *walk,
			    uint32_t kept, uint32_t count, uint64_t leaf,
			    enum sp_unwind_end end)
{
	bool is_whole = end == SP_UNWIND_OUTERMOST && leaf == FRAME_NONE;
	uint32_t plain;

	if (kept && count == 0) {
		memo->entry_count = kept;
		plain = kept;
	} else {
		if (sp_unlikely(!is_whole)) {
			push_substitutes(memo, &count, walk, leaf, end);
		} else if (walk->pc == 0) {
			/* The return address of nobody ended the walk: it is a word to
			 * be compared, too. */
			walk->module = NULL;
			push(memo, &count, walk, FRAME_NONE, SP_RULE_END);
		}
		plain = place(memo, walk, kept, count);
		is_whole = is_whole && !has_own_root(memo);
	}
	if (!is_whole || walk->is_guarded || !walk->is_live || !walk->snapshot)
		return;
	memo->generation = walk->snapshot->generation;
	memo->stack_high = walk->stack_last + SP_RULE_WORD_BYTES;
	atomic_signal_fence(memory_order_seq_cst);
	memo->spliceable_count = plain;
}

/* Would a walk from here end at its first look, as all is as it was? So it is with most
 * blocks of a loop, which are spared what a walk needs to begin and to end. */
static inline bool is_last_stack(const struct sp_unwind_memo *memo,
				 const struct sp_unwind_snapshot *snapshot,
				 const struct sp_unwind_regs *regs,
				 const struct sp_unwind_stack *stack)
{
	uint32_t count = memo->spliceable_count;
	const struct sp_memo_entry *leaf;

	if (!count || count != memo->entry_count || count > memo->depth_frames_max ||
	    !snapshot || snapshot->generation != memo->generation ||
	    stack->high != memo->stack_high || stack->is_guarded || stack->delta != 0 ||
	    regs->value[SP_DWARF_RSP] < stack->low)
		return false;
	leaf = &memo->entries[count - 1];
	return leaf->key == (regs->value[SP_DWARF_RSP] << 1 | 1) &&
	       leaf->pc == regs->value[SP_DWARF_RA] &&
	       (leaf->rbp_slot == SP_MEMO_RBP_UNUSED ||
		leaf->rbp == regs->value[SP_DWARF_RBP]) &&
	       verify(memo, count) == count;
}

static SP_NOINLINE struct sp_unwind_memo_result
walk_anew(struct sp_unwind_memo *memo, const struct sp_unwind_snapshot *snapshot,
	  const struct sp_unwind_regs *regs, const struct sp_unwind_stack *stack)
{
	struct sp_unwind_memo_result result = {.end = SP_UNWIND_FULL};
	uint32_t max_frames = memo->depth_frames_max;
	uint32_t steps_left = max_frames + SP_WALK_AGENT_FRAMES_MAX;
	uint32_t count = 0, reported = 0, kept = 0, left;
	uint64_t leaf = sp_frame_make(SP_MODULE_NONE, regs->value[SP_DWARF_RA]);
	bool is_verified = false;
	struct sp_walk walk;

	sp_walk_begin(&walk, snapshot, regs, stack);
	left = usable_entries(memo, &walk, stack->high);
	/* A jump out of a handler may cut this walk short. */
	memo->spliceable_count = 0;
	atomic_signal_fence(memory_order_seq_cst);
	while (steps_left-- > 0) {
		uint64_t address = walk.pc - !walk.is_interrupted;
		enum sp_walk_step step = SP_STEP_DONE;
		enum sp_walk_find found;
		struct sp_walk_code code;

		if (left && is_met(&walk, memo->entries, &left)) {
			uint32_t met = left;

			if (!is_verified)
				left = verify(memo, met);
			is_verified = true;
			if (left == met && count + met <= max_frames) {
				kept = met;
				result.end = SP_UNWIND_OUTERMOST;
				break;
			}
		}
		found = sp_walk_find(&walk, address);
		if (sp_unlikely(found > SP_FIND_GENERATED)) {
			result.end = sp_walk_end(found, step);
			break;
		}
		code = sp_walk_code_at(&walk, found, address);
		if (walk.module && walk.module->is_agent) {
			if (address == regs->value[SP_DWARF_RA])
				leaf = code.frame;
			code.frame = FRAME_NONE;
		} else if (reported == max_frames) {
			break;
		} else {
			reported++;
		}
		push(memo, &count, &walk, code.frame, code.rule);
		step = sp_walk_step_by_rule(&walk, code.rule);
		if (step != SP_STEP_DONE) {
			result.end = sp_walk_end(found, step);
			break;
		}
	}
	result.stepped_frames = count;
	result.spliced_frames = kept;
	remember(memo, &walk, kept, count, kept || reported ? FRAME_NONE : leaf,
		 result.end);
	result.hash = memo->entries[memo->entry_count - 1].hash;
	return result;
}

struct sp_unwind_memo_result sp_unwind_memo_walk(
	struct sp_unwind_memo *memo, const struct sp_unwind_snapshot *snapshot,
	const struct sp_unwind_regs *regs, const struct sp_unwind_stack *stack)
{
	if (sp_likely(is_last_stack(memo, snapshot, regs, stack)))
		return (struct sp_unwind_memo_result){
			.hash = memo->entries[memo->entry_count - 1].hash,
			.end = SP_UNWIND_OUTERMOST,
			.spliced_frames = memo->entry_count};
	return walk_anew(memo, snapshot, regs, stack);
}

uint64_t *sp_unwind_memo_room(struct sp_unwind_memo *memo)
{
	return (uint64_t *)memo->steps;
}

struct sp_unwind_memo_result sp_unwind_memo_take(struct sp_unwind_memo *memo,
						 uint32_t frame_count,
						 enum sp_unwind_end end)
{
	const uint64_t *frames = sp_unwind_memo_room(memo);
	struct sp_unwind_memo_result result = {
		.hash = HASH_OF_NOTHING, .end = end, .stepped_frames = frame_count};
	uint32_t at = 0;

	memo->spliceable_count = 0;
	memo->run_count = 0;
	if (end != SP_UNWIND_OUTERMOST)
		memo->entries[at++].frame =
			sp_frame_pseudo(end == SP_UNWIND_FULL ? SP_PSEUDO_TRUNCATED
							      : SP_PSEUDO_INCOMPLETE);
	while (frame_count > 0)
		memo->entries[at++].frame = frames[--frame_count];
	for (uint32_t i = 0; i < at; i++) {
		result.hash = sp_intern_mix(result.hash, memo->entries[i].frame);
		memo->entries[i].hash = result.hash;
	}
	memo->entry_count = at;
	return result;
}

uint32_t sp_unwind_memo_depth_frames(const struct sp_unwind_memo *memo)
{
	uint32_t depth_frames = 0;

	for (uint32_t i = 0; i < memo->entry_count; i++)
		depth_frames += memo->entries[i].frame != FRAME_NONE;
	return depth_frames;
}

void sp_unwind_memo_copy(const struct sp_unwind_memo *memo, uint64_t *frames)
{
	for (uint32_t i = memo->entry_count; i-- > 0;) {
		if (memo->entries[i].frame != FRAME_NONE)
			*frames++ = memo->entries[i].frame;
	}
}
