/*
 * Stubs that stand for dlsym() and dlvsym() in patched modules (function_lookup_stub.S),
 * and what they ask: a stub returns value where next is NULL, else it jumps to next with
 * the arguments as they were. Context: hook.
 */
#ifndef SP_FUNCTION_LOOKUPS_H
#define SP_FUNCTION_LOOKUPS_H

#include <stdint.h>

/* By value in registers. */
struct sp_function_found {
	void *value;
	void *next;
};

/* caller: the return address of the call. */
struct sp_function_found sp_function_find_dlsym(void *handle, const char *name,
						const char *unused, uint64_t caller);
struct sp_function_found sp_function_find_dlvsym(void *handle, const char *name,
						 const char *version, uint64_t caller);

extern const char sp_function_dlsym[], sp_function_dlvsym[];

#endif
