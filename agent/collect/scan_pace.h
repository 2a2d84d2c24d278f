/*
 * When the mappings are looked at again. A module that no table knows asks for that at
 * once. Generated code does by a stack that led nowhere, which may have another cause: so
 * it is looked for at a pace that follows what a look costs and what it brings.
 */
#ifndef SP_SCAN_PACE_H
#define SP_SCAN_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Context: collector. Whether to look now. */
bool sp_scan_is_due(void);

/* Context: collector. The time to wait, wait_ns at most, until it is due by what has been
 * asked for. */
uint64_t sp_scan_wait_ns(uint64_t wait_ns);

/* Context: collector. Around a look: what is asked for from the beginning on is due
 * another one. */
void sp_scan_begin(void);
void sp_scan_end(void);

#endif
