/*
 * Steps over code without unwind data: generated code, and assembly that says
 * nothing about its frames. The frame pointer leads from frame to frame; a function
 * that was interrupted before it set up its frame, or after it took it down, is
 * recognised by the instruction it is at. Context: signal. A return address is
 * taken only where it leads to code that we know or the chain goes on from there.
 */
#include "unwind_walk.h"

#include <string.h>

/* How far apart two frames of unknown code may be: beyond, it is chance. */
#define FRAME_BYTES_MAX (UINT64_C(1) << 20)

/* How many frames of unknown code may lie between two of known code. */
#define CHAIN_LINKS_MAX 16

#define CODE_BYTES 16
#define PAGE_MASK UINT64_C(4095)

static bool is_aligned(uint64_t address)
{
	return address % SP_RULE_WORD_BYTES == 0;
}

/* What a return address may be, by its value alone. */
static bool is_plausible(const struct sp_walk *walk, uint64_t address)
{
	return address >= SP_USER_ADDRESS_MIN && address <= SP_USER_ADDRESS_MAX &&
	       (address < walk->stack_low || address > walk->stack_last);
}

static void set_caller(struct sp_walk *walk, uint64_t rsp, uint64_t rbp, uint64_t pc)
{
	walk->rsp = rsp;
	walk->rbp = rbp;
	walk->pc = pc;
	walk->is_rbp_known = true;
	/* Generated code may keep anything there. */
	walk->is_rbx_known = false;
	walk->is_interrupted = false;
}

/* {saved rbp, return address} at frame; false when they can't be that. */
static bool read_frame(struct sp_walk *walk, uint64_t frame, uint64_t *rbp, uint64_t *ra)
{
	return is_aligned(frame) && sp_walk_read(walk, frame, rbp) &&
	       sp_walk_read(walk, frame + SP_RULE_WORD_BYTES, ra);
}

bool sp_walk_has_frame_chain(struct sp_walk *walk)
{
	uint64_t below = walk->rsp;
	uint64_t frame = walk->rbp;
	uint64_t ra = walk->pc;

	if (!walk->is_rbp_known)
		return false;
	for (int links = 0; links < CHAIN_LINKS_MAX && is_plausible(walk, ra); links++) {
		uint64_t rbp;

		if (frame < below || frame - below > FRAME_BYTES_MAX ||
		    !read_frame(walk, frame, &rbp, &ra))
			return false;
		if (sp_walk_is_code(walk, ra - 1))
			return true;
		below = frame + 2 * SP_RULE_WORD_BYTES;
		frame = rbp;
	}
	return false;
}

/* The bytes from pc to the end of its page: what lies beyond may not be mapped. */
SP_UNSANITIZED static uint32_t read_code(const struct sp_walk *walk, uint64_t pc,
					 uint8_t code[CODE_BYTES])
{
	uint32_t count = (uint32_t)(PAGE_MASK + 1 - (pc & PAGE_MASK));

	if (!walk->is_live || !sp_walk_is_readable_code(walk, pc))
		return 0;
	if (count > CODE_BYTES)
		count = CODE_BYTES;
	for (uint32_t i = 0; i < count; i++)
		code[i] = ((const uint8_t *)(uintptr_t)pc)[i];
	return count;
}

static bool starts_with(const uint8_t *code, uint32_t count, const char *bytes,
			uint32_t length)
{
	return count >= length && memcmp(code, bytes, length) == 0;
}

/* Where the return address of a function without a frame lies, counted from rsp;
 * -1 when its instruction does not tell. */
static int frameless_bytes(const uint8_t *code, uint32_t count)
{
	if (starts_with(code, count, "\xf3\x0f\x1e\xfa", 4)) {
		code += 4; /* endbr64 starts a function or a PLT entry */
		count -= 4;
	}
	if (starts_with(code, count, "\x48\x89\xe5", 3) ||
	    starts_with(code, count, "\x48\x8b\xec", 3))
		return SP_RULE_WORD_BYTES; /* mov rbp, rsp: rbp has just been pushed */
	if (starts_with(code, count, "\x55", 1))
		return 0; /* push rbp */
	if (starts_with(code, count, "\xc3", 1) || starts_with(code, count, "\xc2", 1) ||
	    starts_with(code, count, "\xf3\xc3", 2) ||
	    starts_with(code, count, "\xf2\xc3", 2))
		return 0; /* ret */
	if (starts_with(code, count, "\xff\x25", 2) ||
	    starts_with(code, count, "\xf2\xff\x25", 3))
		return 0; /* jmp *x(rip): a PLT entry */
	return -1;
}

/* An interrupted function that has no frame at this instruction. */
static bool step_frameless(struct sp_walk *walk)
{
	uint64_t rsp = walk->rsp;
	uint64_t rbp = walk->rbp;
	uint8_t code[CODE_BYTES];
	uint64_t ra;
	int bytes;

	bytes = frameless_bytes(code, read_code(walk, walk->pc, code));
	if (bytes < 0 || !sp_walk_read(walk, rsp + (uint64_t)bytes, &ra) ||
	    !sp_walk_is_code(walk, ra - 1))
		return false;
	if (bytes > 0 && !sp_walk_read(walk, rsp, &rbp))
		return false;
	set_caller(walk, rsp + (uint64_t)bytes + SP_RULE_WORD_BYTES, rbp, ra);
	return true;
}

enum sp_walk_step sp_walk_step_unknown(struct sp_walk *walk)
{
	uint64_t frame = walk->rbp;
	uint64_t rbp, ra;

	if (walk->is_interrupted && step_frameless(walk))
		return SP_STEP_DONE;
	if (!walk->is_rbp_known)
		return SP_STEP_NO_RULE;
	/* The ABI marks the outermost frame by a zero frame pointer; a function that
	 * was interrupted may have it in use for something else. */
	if (frame == 0)
		return walk->is_interrupted ? SP_STEP_NO_RULE : SP_STEP_OUTERMOST;
	if (frame < walk->rsp || !read_frame(walk, frame, &rbp, &ra))
		return SP_STEP_NO_RULE;
	if (ra == 0)
		return SP_STEP_OUTERMOST;
	if (!is_plausible(walk, ra))
		return SP_STEP_NO_RULE;
	set_caller(walk, frame + 2 * SP_RULE_WORD_BYTES, rbp, ra);
	return SP_STEP_DONE;
}
