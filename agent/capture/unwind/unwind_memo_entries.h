/*
 * What a memo remembers of a stack, shared by the files that walk with it and that prove
 * what it found. Context of everything here: hook.
 */
#ifndef UNWIND_MEMO_ENTRIES_H
#define UNWIND_MEMO_ENTRIES_H

#include "sp_unwind_memo.h"
#include "unwind_walk.h"

/* Instead of the address that the saved rbp was read from. */
#define SP_MEMO_RBP_KEPT UINT64_C(0)   /* the frame below has it still in the register */
#define SP_MEMO_RBP_UNUSED UINT64_C(1) /* no step from here on depends on it */

struct sp_memo_entry {
	uint64_t key; /* key_of() the walk */
	uint64_t pc;  /* found at rsp - 8 */
	uint64_t rbp; /* found at rbp_slot */
	uint64_t rbp_slot;
	uint64_t frame;
	uint64_t hash; /* of the frames from the root to this one */
};

struct sp_memo_step; /* of the walk in progress */

/* Entries from first on are in a module that may be unloaded. */
struct sp_memo_run {
	const struct sp_unwind_module *module;
	uint64_t first;
};

struct sp_unwind_memo {
	uint64_t generation; /* of the snapshot that modules are pointers into */
	uint64_t stack_high;
	uint32_t depth_frames_max;
	uint32_t entry_count;
	uint32_t spliceable_count; /* of them, from the root on, a walk may end with */
	uint32_t run_count;
	size_t size_bytes;
	/* The last step ends a walk, or stands for the rest of it. */
	struct sp_memo_step *steps;
	struct sp_memo_run *runs;
	struct sp_memo_entry entries[];
};

static inline uint64_t sp_memo_rsp_of(uint64_t key)
{
	return key >> 1;
}

static inline uint64_t sp_memo_address_of(const struct sp_memo_entry *entry)
{
	return entry->pc - !(entry->key & 1);
}

SP_UNSANITIZED static inline uint64_t sp_memo_word_at(uint64_t address)
{
	return *(const uint64_t *)(uintptr_t)address;
}

#endif
