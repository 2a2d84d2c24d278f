#ifndef SP_HOOK_CALLS_H
#define SP_HOOK_CALLS_H

#include "sp_hooks.h"

extern const struct sp_hook_calls sp_agent_hook_calls;

/* Context: hook. Writes the profiles of a process that ends, and waits for it. */
void sp_hook_calls_write_at_end(void);

/* Context: hook, in a fork child: a thread that had paused ours is none of it. */
void sp_hook_calls_forked(void);

#endif
