/*
 * The walk from frame to frame. Context: signal; no lock, no allocation, no system
 * call but for guarded reads, less than 1 KB of stack together with what it calls.
 */
#include "sp_unwind.h"

#include "unwind_step.h"

#include <string.h>

SP_SAMPLING_DATA _Atomic(const struct sp_unwind_snapshot *) sp_unwind_snapshot;

SP_SAMPLING const struct sp_unwind_module *
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

/* Looked at first, before the list is searched. */
static void expect_modules(struct sp_walk *walk)
{
	const struct sp_unwind_snapshot *snapshot = walk->snapshot;
	uint32_t leaf =
		atomic_load_explicit(&sp_cache_recent.modules[0], memory_order_relaxed);
	uint32_t other =
		atomic_load_explicit(&sp_cache_recent.modules[1], memory_order_relaxed);

	if (!snapshot || leaf >= snapshot->count || other >= snapshot->count)
		return;
	walk->previous = &snapshot->modules[other];
	__builtin_prefetch(walk->previous);
	/* Of others each walk has to see that they are still loaded. */
	if (snapshot->modules[leaf].is_permanent)
		walk->module = &snapshot->modules[leaf];
}

static void note_module(const struct sp_walk *walk, unsigned int which,
			const struct sp_unwind_module *module)
{
	if (module)
		atomic_store_explicit(&sp_cache_recent.modules[which],
				      (uint16_t)(module - walk->snapshot->modules),
				      memory_order_relaxed);
}

SP_SAMPLING struct sp_unwind_result sp_unwind(const struct sp_unwind_snapshot *snapshot,
					      const struct sp_unwind_regs *regs,
					      const struct sp_unwind_stack *stack,
					      uint64_t *frames, uint32_t max_frames)
{
	struct sp_unwind_result result = {.end = SP_UNWIND_FULL};
	uint32_t steps_left = max_frames + SP_WALK_AGENT_FRAMES_MAX;
	uint64_t leaf = sp_frame_make(SP_MODULE_NONE, regs->value[SP_DWARF_RA]);
	struct sp_walk walk;

	if (max_frames == 0)
		return result;
	sp_cache_expect_recent();
	sp_walk_begin(&walk, snapshot, regs, stack);
	expect_modules(&walk);
	while (steps_left-- > 0) {
		uint64_t address = walk.pc - !walk.is_interrupted;
		enum sp_walk_find found = sp_walk_find(&walk, address);
		enum sp_walk_step step = SP_STEP_DONE;
		struct sp_walk_code code;

		if (sp_unlikely(found > SP_FIND_GENERATED)) {
			result.end = sp_walk_end(found, step);
			break;
		}
		code = sp_walk_code_at(&walk, found, address);
		if (sp_unlikely(walk.module && walk.module->is_agent)) {
			/* Kept for a walk that never leaves the agent. */
			if (address == regs->value[SP_DWARF_RA])
				leaf = code.frame;
			if (result.depth_frames == 0)
				result.hook_frame = code.frame;
		} else if (result.depth_frames == max_frames) {
			break;
		} else {
			sp_cache_note_recent(result.depth_frames, code.frame);
			if (result.depth_frames == 0)
				note_module(&walk, 0, walk.module);
			frames[result.depth_frames++] = code.frame;
		}
		step = sp_walk_step_by_rule(&walk, code.rule);
		if (step != SP_STEP_DONE) {
			result.end = sp_walk_end(found, step);
			break;
		}
	}
	sp_cache_end_recent(result.depth_frames);
	note_module(&walk, 1, walk.previous);
	if (sp_unlikely(result.depth_frames == 0)) {
		frames[result.depth_frames++] = leaf;
		result.hook_frame = 0;
	}
	return result;
}

void sp_unwind_put_hook(struct sp_unwind_result *result, uint64_t *frames,
			uint32_t max_frames)
{
	if (result->depth_frames < max_frames)
		result->depth_frames++;
	else
		result->end = SP_UNWIND_FULL;
	memmove(frames + 1, frames, (result->depth_frames - 1) * sizeof(*frames));
	frames[0] = result->hook_frame;
}
