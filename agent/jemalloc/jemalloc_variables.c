/*
 * The private jemalloc's zeroed variables: where the linker has put them (variables.ld)
 * they can only be read, until it is known that there is room for what can be written.
 * Context: hook.
 */
#include "jemalloc_variables.h"

#include "sp_compiler.h"
#include "sp_pages.h"

extern SP_HIDDEN unsigned char sp_je_variables_begin[], sp_je_variables_end[];

bool sp_jemalloc_variables_open(void)
{
	return sp_pages_open(sp_je_variables_begin,
			     (size_t)(sp_je_variables_end - sp_je_variables_begin)) == 0;
}
