/*
 * Two walks of one stack, ours and libunwind's, counted and kept where they differ.
 */
#ifndef ORACLE_COMPARE_H
#define ORACLE_COMPARE_H

#include "sp_unwind.h"

/* The path of a module, for the report. */
typedef const char *(*sp_oracle_name)(uint16_t module);

/*
 * Context: signal, in so far as libunwind allows it; after
 * sp_unwind_libunwind_open(). Compares the walks from the point that ucontext
 * interrupted.
 */
void sp_oracle_compare(const struct sp_unwind_snapshot *snapshot,
		       const struct sp_unwind_stack *stack, const void *ucontext);

/* How many comparisons were made. Context: any. */
uint64_t sp_oracle_samples(void);

/* Context: any. Forgets everything, in a fork child. */
void sp_oracle_reset(void);

/* Context: any. Writes what was counted, as "name value" lines, then the chains of
 * the first differences. */
void sp_oracle_report(int fd, sp_oracle_name name);

#endif
