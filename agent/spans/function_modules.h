/*
 * Which modules' calls of which functions lead to an entry of ours (span_functions.h).
 * Modules of the start-up are patched at once, later ones when the program first asks
 * for something in them, else when the collector meets them.
 */
#ifndef SP_FUNCTION_MODULES_H
#define SP_FUNCTION_MODULES_H

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

/* Context: init, once. patterns stays where it is. */
void sp_function_patch_startup(const char *patterns);

/* Context: collector; as in struct sp_span_source_ops. */
bool sp_function_module_loaded(uint64_t start, const struct link_map *link_map);
bool sp_function_wants_modules(void);

/* Context: hook. module is in use by the caller; it is looked at once. */
void sp_function_patch_early(const struct link_map *module);

/* Context: hook. Are calls of a function of that name to be spans? */
bool sp_function_is_wanted(const char *name);

/* Context: hook. The address to call instead of target, or target. is_kept: its module
 * stays loaded meanwhile. */
uint64_t sp_function_entry_for(uint64_t target, const char *name, bool is_kept);

/*
 * Context: hook. A slot that waited for its first call holds the function itself after
 * that: all such slots get the functions' entries.
 */
void sp_function_rebind(void);

/* --- look-ups by name (function_lookups.c) --- */

/* Is it a function that finds others? */
bool sp_function_is_lookup(const char *name);

/* What to call in place of that look-up at target (0: at whatever is the program's), 0:
 * leave it. */
uint64_t sp_function_lookup_for(const char *name, uint64_t target);

#endif
