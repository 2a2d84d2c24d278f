/*
 * Opened late by alloc_extended: allocates by operator new, called by the name that
 * compilers give it, and does nothing else by which it would be noticed.
 */
#include <stddef.h>
#include <string.h>

void *operator_new(size_t bytes) __asm__("_Znwm");
void operator_delete(void *block) __asm__("_ZdlPv");

void *plugin_new(void);
void plugin_work(void);

__attribute__((noinline)) void *plugin_new(void)
{
	void *block = operator_new(300);

	memset(block, 1, 300);
	return block;
}

void plugin_work(void)
{
	for (int i = 0; i < 10; i++)
		operator_delete(plugin_new());
}
