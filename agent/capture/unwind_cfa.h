/*
 * From a parsed FDE to the packed rule of one address: runs the two programs of
 * call frame instructions. Private to the unwinder.
 */
#ifndef UNWIND_CFA_H
#define UNWIND_CFA_H

#include "unwind_cursor.h"
#include "unwind_rule.h"

/* One FDE together with what its CIE says. */
struct sp_cfi_function {
	uint64_t start, end; /* host addresses */
	uint64_t code_align;
	int64_t data_align;
	const uint8_t *cie_ops, *cie_ops_end;
	const uint8_t *ops, *ops_end;
	int64_t delta;	       /* of those pointers, as in struct sp_cursor */
	uint64_t pointer_bias; /* added to every pointer read: .debug_frame is not
				  relocated */
	uint8_t pointer_encoding;
	bool is_interrupted; /* 'S': the caller did not call, it was interrupted */
};

/* Context: signal; no system call. The rule in force at address. */
uint64_t sp_cfa_rule(const struct sp_cfi_function *function, uint64_t address);

/* What an expression comes to, as far as a packed rule can say it. */
enum sp_expr_kind {
	SP_EXPR_UNKNOWN,
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
	int64_t offset;
	int64_t added;
};

/*
 * Context: signal; bounded. Evaluates a DWARF expression without values: registers
 * stay symbols, but pc is known. first, when not NULL, is on the stack at the start.
 */
struct sp_expr_value sp_expr_evaluate(struct sp_cursor expression, uint64_t pc,
				      const struct sp_expr_value *first);

#endif
