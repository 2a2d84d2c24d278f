/*
 * What a module that may be unloaded at any moment has by a name.
 */
#ifndef SP_MODULE_SYMBOL_H
#define SP_MODULE_SYMBOL_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Context: collector. Address of the variable or function that the module at start
 * defines by that name, whatever its version; 0: there is none, or the module is gone.
 */
uint64_t sp_module_symbol(uint64_t start, const char *name);

/*
 * Context: hook. Does the name stand for something else than a function of the module's
 * own: a variable, or, in a program that is not position-independent, the place from
 * which it calls another module's function, and which is that function's address for
 * everybody? False where the module has no such name.
 */
bool sp_module_symbol_is_no_function(uint64_t start, const char *name);

#endif
