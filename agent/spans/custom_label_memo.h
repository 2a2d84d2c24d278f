/*
 * What the labels at some address were found to be, with all that was read for it: while
 * that is the same, which one system call tells, so are they. Context: signal.
 */
#ifndef CUSTOM_LABEL_MEMO_H
#define CUSTOM_LABEL_MEMO_H

#include "sp_sample_labels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_custom_memo;

/* That of the address, the caller's alone until it is given back; NULL: somebody has it.
 * All that is below does nothing with NULL. */
struct sp_custom_memo *sp_custom_memo_take(uint64_t address);
void sp_custom_memo_give(struct sp_custom_memo *memo);

/* Are those at the address still what they were? Then adds them; has_added: some. */
bool sp_custom_memo_add(struct sp_custom_memo *memo, uint64_t address,
			struct sp_span_labels *labels, bool *has_added);

/* They are looked at anew: what is read, in the order in which it is read, and what is
 * found. Kept when all of it has been noted. */
void sp_custom_memo_begin(struct sp_custom_memo *memo, uint64_t address);
void sp_custom_memo_note_read(struct sp_custom_memo *memo, uint64_t address,
			      const void *bytes, size_t size_bytes);
void sp_custom_memo_note_label(struct sp_custom_memo *memo, struct sp_sample_label label);
void sp_custom_memo_keep(struct sp_custom_memo *memo);

#endif
