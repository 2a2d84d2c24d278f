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

/* Bytes of an entry of the linker's sorted table: two 32-bit words relative to the
 * header, the start of a function and where its FDE is. */
#define SP_CFI_TABLE_ENTRY_BYTES 8

/*
 * Context: collector, before the module is published. Sets the table of the module, whose
 * hdr_* are set. False: .eh_frame_hdr has none that we can search.
 */
bool sp_cfi_find_table(struct sp_unwind_module *module);

/* Where the function of an entry of the module's table starts, relative to the header. */
int32_t sp_cfi_table_start(const struct sp_unwind_module *module, uint32_t entry);

struct sp_unwind_cie;

/*
 * Context: collector. Reads the CIE of the function of an entry of the module's table.
 * False: it is damaged, or cannot be read ahead.
 */
bool sp_cfi_read_ahead(const struct sp_unwind_module *module, uint32_t entry,
		       struct sp_unwind_cie *cie);

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
