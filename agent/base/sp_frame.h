/*
 * How one frame of a stack is written, everywhere: in rings, in the stack table,
 * in what reporters see.
 *
 *   bits 63..48  module id, as in the recording's module table
 *   bits 47..0   address - module base (module id != 0), or the plain address
 *
 * Module ids are never used twice in one process, so a frame keeps its meaning
 * after its module is unloaded and another one takes the address. Module 0 is
 * "no module": JIT code and anonymous memory. SP_MODULE_PSEUDO frames are not
 * code but one of enum sp_pseudo_frame; SP_MODULE_NAMED frames, which only profiles
 * have, are names of something else, such as spans.
 *
 * The address is that of the interrupted instruction for the leaf (and for the
 * frame that a signal interrupted), else the return address - 1.
 */
#ifndef SP_FRAME_H
#define SP_FRAME_H

#include <stdint.h>

#define SP_FRAME_MODULE_SHIFT 48
#define SP_FRAME_OFFSET_MASK ((UINT64_C(1) << SP_FRAME_MODULE_SHIFT) - 1)

#define SP_MODULE_NONE UINT16_C(0)
#define SP_MODULE_PSEUDO UINT16_C(0xffff)
#define SP_MODULE_NAMED UINT16_C(0xfffe)
#define SP_MODULE_ID_MAX UINT16_C(0xfffd)

enum sp_pseudo_frame {
	SP_PSEUDO_DROPPED = 1,	  /* samples lost for want of room */
	SP_PSEUDO_UNSAMPLED,	  /* exact CPU time that no sample fell into */
	SP_PSEUDO_TRUNCATED,	  /* root side of a stack cut at the depth limit */
	SP_PSEUDO_INCOMPLETE,	  /* root side of a stack that could not be walked on */
	SP_PSEUDO_AGENT,	  /* the agent's own thread */
	SP_PSEUDO_UNKNOWN_THREAD, /* entry function of a thread nobody saw start */
	SP_PSEUDO_KERNEL_WORKER,  /* a thread of the process that only the kernel runs */
	SP_PSEUDO_COUNT
};

static inline uint64_t sp_frame_make(uint16_t module, uint64_t offset)
{
	return (uint64_t)module << SP_FRAME_MODULE_SHIFT |
	       (offset & SP_FRAME_OFFSET_MASK);
}

static inline uint16_t sp_frame_module(uint64_t frame)
{
	return (uint16_t)(frame >> SP_FRAME_MODULE_SHIFT);
}

static inline uint64_t sp_frame_offset(uint64_t frame)
{
	return frame & SP_FRAME_OFFSET_MASK;
}

static inline uint64_t sp_frame_pseudo(enum sp_pseudo_frame which)
{
	return sp_frame_make(SP_MODULE_PSEUDO, (uint64_t)which);
}

/* "[dropped]" and so on; "[?]" for a number out of range. Context: signal. */
const char *sp_pseudo_frame_name(uint64_t offset);

#endif
