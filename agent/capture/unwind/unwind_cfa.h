/*
 * From a parsed FDE to the packed rule of one address: runs the two programs of
 * call frame instructions. Private to the unwinder.
 */
#ifndef UNWIND_CFA_H
#define UNWIND_CFA_H

#include "unwind_cfi.h"
#include "unwind_cursor.h"

struct sp_cfa_state;

/* One FDE together with what its CIE says. */
struct sp_cfi_function {
	uint64_t start, end; /* host addresses */
	int16_t code_align, data_align;
	uint8_t pointer_encoding;
	bool is_interrupted; /* 'S': the caller did not call, it was interrupted */
	/* What the program of the CIE comes to; NULL: it is to be run. */
	const struct sp_cfa_state *initial;
	const uint8_t *cie_ops, *cie_ops_end;
	const uint8_t *ops, *ops_end;
	int64_t delta; /* of those pointers, as in struct sp_cursor */
	/* Added to every pointer read: .debug_frame is not relocated. */
	uint64_t pointer_bias;
};

enum sp_save_kind {
	SP_SAVE_SAME, /* the caller's value is still in the register */
	SP_SAVE_AT_CFA,
	SP_SAVE_EXPRESSION, /* at the address that an expression gives */
	SP_SAVE_REGISTER,
	SP_SAVE_UNDEFINED,
	SP_SAVE_OTHER, /* a value we don't follow */
};

/* The registers whose rule is followed. */
enum { SP_SAVED_RBP, SP_SAVED_RBX, SP_SAVED_RA, SP_SAVED_COUNT };

/* Small, since several of them lie on the stack of a signal handler. */
struct sp_cfa_state {
	bool is_cfa_expression;
	bool is_cfa_known;
	bool is_rsp_moved; /* the caller's rsp is not the CFA */
	uint8_t cfa_reg;
	uint8_t save[SP_SAVED_COUNT]; /* enum sp_save_kind */
	uint8_t ra_reg;
	int32_t cfa_offset;		/* or where its expression starts, from ops */
	int32_t offset[SP_SAVED_COUNT]; /* likewise */
};

/* A CIE that was read ahead, and what its program comes to. */
struct sp_unwind_cie {
	_Alignas(64) uint64_t offset; /* from eh_frame_address */
	int16_t code_align, data_align;
	uint8_t pointer_encoding;
	bool is_interrupted, has_augmentation_data;
	struct sp_cfa_state initial;
};
_Static_assert(sizeof(struct sp_unwind_cie) == 64, "one of the processor's lines");

/*
 * Context: collector. Runs the program of the CIE alone. False when it cannot be
 * followed, or comes to more than a state: an expression, or a state to go back to. Then
 * *state is of no use.
 */
bool sp_cfa_run_cie(const struct sp_cfi_function *function, struct sp_cfa_state *state);

/*
 * Context: signal; no system call. Runs the programs up to address, which lies in
 * function; all of row is in the same state. False when they cannot be followed: then
 * *row is untouched, *state perhaps.
 */
bool sp_cfa_run(const struct sp_cfi_function *function, uint64_t address,
		struct sp_cfa_state *state, struct sp_cfi_row *row);

/* Context: signal; no system call. The rule that a state comes to. */
uint64_t sp_cfa_pack(const struct sp_cfi_function *function,
		     const struct sp_cfa_state *state, uint64_t address);

/* What an expression comes to, as far as a packed rule can say it. */
enum sp_expr_kind {
	SP_EXPR_CONST,	       /* offset */
	SP_EXPR_REG,	       /* reg + offset */
	SP_EXPR_SCALED,	       /* 8 * reg */
	SP_EXPR_INDEXED,       /* rsp + 8 * reg + offset */
	SP_EXPR_DEREF,	       /* [reg + offset] + added */
	SP_EXPR_DEREF_INDEXED, /* [rsp + 8 * reg + offset] + added */
};

struct sp_expr_value {
	uint8_t kind; /* enum sp_expr_kind */
	uint8_t reg;
	int16_t added;
	int64_t offset;
};

/*
 * Context: signal; bounded. Evaluates the DWARF expression under the cursor without
 * values: registers stay symbols, but pc is known. False, *result untouched, when it
 * comes to none of the kinds.
 */
bool sp_expr_evaluate(struct sp_cursor *cursor, uint64_t pc,
		      struct sp_expr_value *result);

#endif
