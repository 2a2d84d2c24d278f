/*
 * How to step over one frame, in 8 bytes: what the call frame information of one
 * pc comes down to. Private to the unwinder. A packed rule is a constant of the
 * code it was made for: it holds no address, so one cache serves every thread.
 *
 *   bits 0..3    kind (enum sp_rule_kind)
 *   bits 4..7    register (SP_RULE_CFA_REG, _DEREF, _DEREF_INDEXED, _RA_REG)
 *   bits 8..10   what is added after the dereference, in words
 *   bit  11      the caller was interrupted: its pc is not a return address
 *   bits 12..13  where the caller's rbp is (enum sp_rule_rbp)
 *   bit  14      the caller's rbx is at rbp + offset, not at CFA + offset
 *   bits 15..27  rbp offset, in words, signed
 *   bits 28..40  rbx offset, in words, signed; 0 from the CFA: unchanged; 0 from
 *                rbp: unknown
 *   bits 41..63  CFA offset, in words, signed
 *
 * rbx is followed because the lazy binding stub of the loader keeps its frame by
 * it; no other register that a call preserves is.
 */
#ifndef UNWIND_RULE_H
#define UNWIND_RULE_H

#include "sp_unwind.h"

#define SP_DWARF_RBX 3

#define SP_RULE_WORD_BYTES 8

enum sp_rule_kind {
	SP_RULE_EMPTY = 0, /* no rule at all: an unused cache entry */
	SP_RULE_NONE,	   /* nothing is known of this pc: try the frame pointer */
	SP_RULE_BAD,	   /* something is known that cannot be followed */
	SP_RULE_END,	   /* outermost frame: return address undefined */
	SP_RULE_SIGNAL,	   /* a ucontext_t lies at rsp */
	/* From here on, steps from a frame to the one that called it. */
	SP_RULE_CFA_RSP,       /* CFA = rsp + offset */
	SP_RULE_CFA_RBP,       /* CFA = rbp + offset */
	SP_RULE_CFA_REG,       /* CFA = register + offset */
	SP_RULE_DEREF,	       /* CFA = [register + offset] + added */
	SP_RULE_DEREF_INDEXED, /* CFA = [rsp + 8 * register + offset] + added */
	SP_RULE_RA_REG,	       /* CFA = rsp + offset, return address in register */
};

enum sp_rule_rbp {
	SP_RULE_RBP_SAME,
	SP_RULE_RBP_AT_CFA, /* saved at CFA + rbp offset */
	SP_RULE_RBP_AT_RBP, /* saved at rbp + rbp offset */
	SP_RULE_RBP_UNKNOWN,
};

#define SP_RULE_REG_SHIFT 4
#define SP_RULE_ADDED_SHIFT 8
#define SP_RULE_ADDED_MAX 7
#define SP_RULE_INTERRUPTED (UINT64_C(1) << 11)
#define SP_RULE_RBP_SHIFT 12
#define SP_RULE_RBX_FROM_RBP (UINT64_C(1) << 14)
#define SP_RULE_RBP_OFFSET_SHIFT 15
#define SP_RULE_RBX_OFFSET_SHIFT 28
#define SP_RULE_CFA_OFFSET_SHIFT 41
#define SP_RULE_SAVE_BITS 13
#define SP_RULE_CFA_BITS 23

static inline enum sp_rule_kind sp_rule_kind(uint64_t rule)
{
	return (enum sp_rule_kind)(rule & 15);
}

static inline unsigned int sp_rule_reg(uint64_t rule)
{
	return (unsigned int)(rule >> SP_RULE_REG_SHIFT) & 15;
}

static inline uint64_t sp_rule_added_bytes(uint64_t rule)
{
	return (rule >> SP_RULE_ADDED_SHIFT & SP_RULE_ADDED_MAX) * SP_RULE_WORD_BYTES;
}

static inline enum sp_rule_rbp sp_rule_rbp(uint64_t rule)
{
	return (enum sp_rule_rbp)(rule >> SP_RULE_RBP_SHIFT & 3);
}

static inline int64_t sp_rule_rbp_offset_bytes(uint64_t rule)
{
	return ((int64_t)(rule << (64 - SP_RULE_SAVE_BITS - SP_RULE_RBP_OFFSET_SHIFT)) >>
		(64 - SP_RULE_SAVE_BITS)) *
	       SP_RULE_WORD_BYTES;
}

static inline int64_t sp_rule_rbx_offset_bytes(uint64_t rule)
{
	return ((int64_t)(rule << (64 - SP_RULE_SAVE_BITS - SP_RULE_RBX_OFFSET_SHIFT)) >>
		(64 - SP_RULE_SAVE_BITS)) *
	       SP_RULE_WORD_BYTES;
}

static inline int64_t sp_rule_cfa_offset_bytes(uint64_t rule)
{
	return ((int64_t)rule >> SP_RULE_CFA_OFFSET_SHIFT) * SP_RULE_WORD_BYTES;
}

/* Whether offset_bytes fits into a signed field of that many bits of words. */
static inline bool sp_rule_fits(int64_t offset_bytes, unsigned int bits)
{
	int64_t limit = INT64_C(1) << (bits - 1);
	int64_t words = offset_bytes / SP_RULE_WORD_BYTES;

	return offset_bytes % SP_RULE_WORD_BYTES == 0 && words >= -limit && words < limit;
}

/* Places a value that fits (sp_rule_fits) into its field. */
static inline uint64_t sp_rule_field(int64_t offset_bytes, unsigned int bits,
				     unsigned int shift)
{
	uint64_t words = (uint64_t)(offset_bytes / SP_RULE_WORD_BYTES);

	return (words & ((UINT64_C(1) << bits) - 1)) << shift;
}

#endif
