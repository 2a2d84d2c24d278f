/*
 * Where functions start, told by the unwind tables that nearly every program
 * keeps when its symbols are stripped: .eh_frame_hdr's sorted index and the
 * address ranges in .eh_frame.
 *
 * Context of everything here: collector.
 */
#ifndef SP_FDE_START_H
#define SP_FDE_START_H

#include "sp_elf_file.h"

#define SP_FDE_NONE UINT64_MAX

/*
 * For each offset that is_wanted, the start of the unwind entry that covers
 * it, else SP_FDE_NONE. offsets are sorted. One pass over the index. 0 or -ENOMEM.
 */
int sp_fde_find_starts(const struct sp_elf_file *file, const uint64_t *offsets,
		       const bool *is_wanted, size_t count, uint64_t *starts);

#endif
