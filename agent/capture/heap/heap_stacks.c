/*
 * From a stack, a size and a label set to the heap cell that their samples go to. Stacks
 * and cells are appended to the recording by whichever hook meets them first; they are
 * found again through two hash indexes in private memory, which nobody needs after the
 * process. Nothing is ever taken out of an index, so a search may end at the first
 * free place. Context: hook.
 */
#include "heap_threads.h"

#include "sp_capture.h"
#include "sp_intern.h"
#include "sp_recording_heap.h"

static struct sp_heap_stack *stack_at(uint32_t word)
{
	return sp_recording_item(&sp_capture.recording, SP_SECTION_HEAP_STACKS, word);
}

static struct sp_heap_cell *cell_at(uint32_t item)
{
	return sp_recording_item(&sp_capture.recording, SP_SECTION_HEAP_CELLS, item);
}

static uint64_t hash_of_stack(uint32_t word)
{
	return stack_at(word)->hash;
}

static uint64_t hash_of_cell(uint32_t item)
{
	return cell_at(item)->hash;
}

static struct sp_intern stacks = {.hash_of = hash_of_stack};
static struct sp_intern cells = {.hash_of = hash_of_cell};

static uint32_t add_stack(uint64_t hash, const struct sp_unwind_memo *memo)
{
	uint32_t frame_count = sp_unwind_memo_depth_frames(memo);
	struct sp_heap_stack *stack;
	uint32_t word;

	if (!sp_intern_append(&sp_capture.recording, SP_SECTION_HEAP_STACKS,
			      SP_HEAP_STACK_WORDS + frame_count, &word))
		return SP_INTERN_NONE;
	stack = stack_at(word);
	stack->frame_count = frame_count;
	sp_unwind_memo_copy(memo, stack->frames);
	stack->hash = hash;
	return sp_intern_add(&stacks, hash, word);
}

static uint32_t add_cell(uint64_t hash, uint32_t stack, uint64_t size_class_bytes,
			 uint32_t label_set)
{
	struct sp_heap_cell *cell;
	uint32_t item;

	if (!sp_intern_append(&sp_capture.recording, SP_SECTION_HEAP_CELLS, 1, &item))
		return SP_INTERN_NONE;
	cell = cell_at(item);
	cell->stack = stack;
	cell->hash = hash;
	cell->size_class_bytes = size_class_bytes;
	cell->labels = label_set;
	/* Release: pairs with readers of the recording. */
	atomic_store_explicit(&cell->is_filled, 1, memory_order_release);
	return sp_intern_add(&cells, hash, item);
}

/* Upper bounds in steps of 16 up to 128, then four to each doubling. */
uint64_t sp_heap_size_class(uint64_t size_bytes)
{
	uint64_t step = 16;

	if (size_bytes > 128)
		step = UINT64_C(1) << (61 - __builtin_clzll(size_bytes - 1));
	if (size_bytes > UINT64_MAX / 2)
		return size_bytes;
	return size_bytes ? SP_ROUND_UP(size_bytes, step) : 16;
}

static uint64_t cell_hash(uint64_t stack_hash, uint64_t size_class_bytes,
			  uint32_t label_set)
{
	return sp_intern_mix(sp_intern_mix(stack_hash, size_class_bytes), label_set);
}

uint32_t sp_heap_cell_find(uint64_t stack_hash, uint64_t size_class_bytes,
			   uint32_t label_set)
{
	uint32_t cell = sp_intern_find(
		&cells, cell_hash(stack_hash, size_class_bytes, label_set));

	return cell != SP_INTERN_NONE ? cell : SP_HEAP_CELL_DROPPED;
}

static uint32_t find_or_add(const struct sp_unwind_memo *memo, uint64_t hash,
			    uint64_t stack_hash, uint64_t size_class_bytes,
			    uint32_t label_set)
{
	uint32_t stack, cell;

	cell = sp_intern_find(&cells, hash);
	if (sp_likely(cell != SP_INTERN_NONE))
		return cell;
	stack = sp_intern_find(&stacks, stack_hash);
	if (stack == SP_INTERN_NONE)
		stack = add_stack(stack_hash, memo);
	if (stack != SP_INTERN_NONE)
		cell = add_cell(hash, stack, size_class_bytes, label_set);
	if (cell != SP_INTERN_NONE)
		return cell;
	sp_recording_count(&sp_capture.recording, SP_LOSS_HEAP_STACK, 1);
	return SP_HEAP_CELL_DROPPED;
}

uint32_t sp_heap_cell_of(struct sp_heap_thread *self, const struct sp_unwind_memo *memo,
			 uint64_t stack_hash, uint64_t size_class_bytes,
			 uint32_t label_set)
{
	uint64_t hash = cell_hash(stack_hash, size_class_bytes, label_set);
	uint32_t cell;

	if (sp_likely(self->last_cell_hash == hash))
		return self->last_cell;
	cell = find_or_add(memo, hash, stack_hash, size_class_bytes, label_set);
	/* A jump out of a handler may leave it so. */
	self->last_cell_hash = 0;
	atomic_signal_fence(memory_order_seq_cst);
	if (cell == SP_HEAP_CELL_DROPPED)
		return cell;
	self->last_cell = cell;
	atomic_signal_fence(memory_order_seq_cst);
	self->last_cell_hash = hash;
	return cell;
}

void sp_heap_stacks_forked(void)
{
	sp_intern_forget(&stacks);
	sp_intern_forget(&cells);
}
