/*
 * Most blocks come from a few stacks. Where every block is sampled, a thread keeps what
 * the stacks that it met twice follow from (struct sp_unwind_proof), and their cells:
 * then a look at the words of the stack takes the place of a walk. Stacks that are met
 * once cost a look at a table of hashes. Context: hook; private memory of one thread.
 */
#include "heap_threads.h"

#include "sp_capture.h"
#include "sp_pages.h"
#include "sp_recording_heap.h"

#define SETS 8U /* by the stack pointer */
#define WAYS 8U
#define SHORTCUTS (SETS * WAYS)
#define MET_HASHES 256U

/* Of the last blocks; stacks have few. A size class of 0: none yet. */
#define CELLS 4U

struct shortcut {
	struct {
		uint64_t size_class_bytes;
		uint32_t label_set, cell;
	} cells[CELLS];
	uint32_t next_cell;
	struct sp_unwind_proof proof;
};

struct sp_heap_shortcuts {
	/* Of each stack pointer, bits that tell most apart; 0: a free place. */
	uint32_t keys[SETS][WAYS];
	/* Of that place, 1 and up: they are given out in order, to touch no more pages
	 * than need be. */
	uint8_t numbers[SETS][WAYS];
	uint8_t next_way[SETS];
	uint32_t used;
	uint32_t met[MET_HASHES];
	struct shortcut shortcuts[SHORTCUTS];
};

static uint32_t key_of(uint64_t stack_pointer)
{
	return (uint32_t)(stack_pointer >> 3) | 1U << 31;
}

static uint32_t set_of(uint64_t stack_pointer)
{
	return (uint32_t)((stack_pointer >> 4) * UINT32_C(0x9e3779b9)) >> 29;
}
_Static_assert(SETS == 1U << (32 - 29), "set_of() gives three bits");

static struct sp_heap_shortcuts *shortcuts_of(struct sp_heap_thread *self)
{
	if (sp_unlikely(!self->shortcuts))
		self->shortcuts = sp_pages_map(sizeof(*self->shortcuts));
	return self->shortcuts;
}

static void keep_cell(struct shortcut *shortcut, uint64_t size_class_bytes,
		      uint32_t label_set, uint32_t cell)
{
	uint32_t place = shortcut->next_cell++ % CELLS;

	/* A handler that jumps leaves no other class's cell. */
	shortcut->cells[place].size_class_bytes = 0;
	atomic_signal_fence(memory_order_seq_cst);
	shortcut->cells[place].label_set = label_set;
	shortcut->cells[place].cell = cell;
	atomic_signal_fence(memory_order_seq_cst);
	shortcut->cells[place].size_class_bytes = size_class_bytes;
}

static uint32_t cell_of(struct shortcut *shortcut, uint64_t size_class_bytes,
			uint32_t label_set)
{
	uint32_t cell;

	for (uint32_t i = 0; i < CELLS; i++)
		if (shortcut->cells[i].size_class_bytes == size_class_bytes &&
		    shortcut->cells[i].label_set == label_set)
			return shortcut->cells[i].cell;
	cell = sp_heap_cell_find(shortcut->proof.hash, size_class_bytes, label_set);
	if (cell != SP_HEAP_CELL_DROPPED)
		keep_cell(shortcut, size_class_bytes, label_set, cell);
	return cell;
}

uint32_t sp_heap_shortcut_find(struct sp_heap_thread *self,
			       const struct sp_heap_place *place,
			       uint64_t size_class_bytes, uint32_t label_set)
{
	struct sp_heap_shortcuts *shortcuts = self->shortcuts;
	uint64_t stack_pointer = place->regs.value[SP_DWARF_RSP];
	uint32_t key = key_of(stack_pointer), set = set_of(stack_pointer);

	if (sp_unlikely(!shortcuts))
		return SP_HEAP_CELL_DROPPED;
	for (uint32_t way = 0; way < WAYS; way++) {
		struct shortcut *shortcut;

		if (shortcuts->keys[set][way] != key)
			continue;
		shortcut = &shortcuts->shortcuts[shortcuts->numbers[set][way] - 1U];
		if (sp_unwind_proof_holds(&shortcut->proof, place->snapshot, &place->regs,
					  &place->stack))
			return cell_of(shortcut, size_class_bytes, label_set);
	}
	return SP_HEAP_CELL_DROPPED;
}

/* A second time lately, as it seems. */
static bool was_met(struct sp_heap_shortcuts *shortcuts, uint64_t hash)
{
	uint32_t *met = &shortcuts->met[hash % MET_HASHES];
	uint32_t tag = (uint32_t)(hash >> 32);
	bool was = *met == tag;

	*met = tag;
	return was;
}

/* The set's free place, or the one that was filled first. */
static uint32_t take_way(struct sp_heap_shortcuts *shortcuts, uint32_t set)
{
	uint32_t way = shortcuts->next_way[set];

	shortcuts->next_way[set] = (uint8_t)((way + 1) % WAYS);
	if (!shortcuts->numbers[set][way])
		shortcuts->numbers[set][way] = (uint8_t)++shortcuts->used;
	return way;
}

void sp_heap_shortcut_keep(struct sp_heap_thread *self, const struct sp_heap_place *place,
			   uint64_t stack_hash, uint64_t size_class_bytes,
			   uint32_t label_set, uint32_t cell)
{
	struct sp_heap_shortcuts *shortcuts = shortcuts_of(self);
	uint64_t stack_pointer = place->regs.value[SP_DWARF_RSP];
	uint32_t set = set_of(stack_pointer), way;
	struct shortcut *shortcut;

	if (!shortcuts || cell == SP_HEAP_CELL_DROPPED || !was_met(shortcuts, stack_hash))
		return;
	way = take_way(shortcuts, set);
	shortcut = &shortcuts->shortcuts[shortcuts->numbers[set][way] - 1U];
	shortcuts->keys[set][way] = 0;
	if (!sp_unwind_memo_prove(self->memo, &shortcut->proof))
		return;
	for (uint32_t i = 0; i < CELLS; i++)
		shortcut->cells[i].size_class_bytes = 0;
	keep_cell(shortcut, size_class_bytes, label_set, cell);
	atomic_signal_fence(memory_order_seq_cst);
	shortcuts->keys[set][way] = key_of(stack_pointer);
}
