/*
 * Variables of a module that was loaded later and may be unloaded at any moment.
 */
#ifndef SP_MODULE_SYMBOL_H
#define SP_MODULE_SYMBOL_H

#include <stdint.h>

/*
 * Context: collector. Address of the variable or function that the module at start
 * defines by that name, whatever its version; 0: there is none, or the module is gone.
 */
uint64_t sp_module_symbol(uint64_t start, const char *name);

#endif
