/*
 * A plugin that allocates, resizes and frees, its own blocks and others'. Whose
 * allocator that is depends on how it is opened.
 */
#include "burn.h"

#include <string.h>

void *plugin_allocate(size_t bytes);
void *plugin_resize(void *block, size_t bytes);
void plugin_free(void *block);
int plugin_work(void);

NOINLINE void *plugin_allocate(size_t bytes)
{
	void *block = malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

NOINLINE void *plugin_resize(void *block, size_t bytes)
{
	block = realloc(block, bytes);
	__asm__ volatile("" : "+r"(block));
	return block;
}

void plugin_free(void *block)
{
	free(block);
}

/* All by itself: what a plugin with a C library of its own can do. */
int plugin_work(void)
{
	char *text = strdup("plugin"), *line;
	int sum = 0;

	for (int i = 0; i < 1000; i++) {
		if (asprintf(&line, "%s %d", text, i) < 0)
			return -1;
		sum += (int)strlen(line);
		text = realloc(text, (size_t)(8 + i));
		free(line);
	}
	free(text);
	return sum;
}
