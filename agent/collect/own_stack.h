/*
 * A stack of ours for what a thread of the program has no room for.
 */
#ifndef SP_OWN_STACK_H
#define SP_OWN_STACK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Context: hook, all signals blocked. Calls the function on a stack of that size, and
 * takes back what signals its writing raised. False when there is no memory for one.
 */
bool sp_own_stack_call(void (*function)(void), size_t stack_bytes);

#endif
