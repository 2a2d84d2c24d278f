/*
 * Call frame information of one module: from an address to its packed rule.
 * Every byte is read inside the module's published ranges, whatever it says.
 */
#ifndef UNWIND_CFI_H
#define UNWIND_CFI_H

#include "unwind_rule.h"

/* Host addresses that one rule is for. */
struct sp_cfi_row {
	uint64_t start, end;
};

/*
 * Context: signal; no system call. The rule for the instruction at address, which
 * lies in module: a kind other than SP_RULE_EMPTY, always. row: where else it is the
 * same, as far as that was seen on the way; address itself at least.
 */
uint64_t sp_cfi_find_rule(const struct sp_unwind_module *module, uint64_t address,
			  struct sp_cfi_row *row);

/*
 * Context: signal. The linker's sorted table of functions in .eh_frame_hdr, pairs of
 * 32-bit words relative to the header; false when there is none that we can search.
 */
bool sp_cfi_find_table(const struct sp_unwind_module *module, const uint8_t **table,
		       uint32_t *count);

/* What one entry of the section is. */
enum sp_cfi_entry {
	SP_CFI_END,	 /* the terminator, or no more bytes */
	SP_CFI_FUNCTION, /* an FDE: start and end are set */
	SP_CFI_OTHER,	 /* a CIE, or an FDE that cannot be read */
};

/*
 * Context: collector. Reads the entry at offset from eh_frame_address, sets the
 * host addresses of the function it is for and the offset of the next entry.
 */
enum sp_cfi_entry sp_cfi_read_entry(const struct sp_unwind_module *module,
				    uint64_t offset, uint64_t *next_offset,
				    uint64_t *start, uint64_t *end);

#endif
