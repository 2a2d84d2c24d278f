/*
 * heap_fibers: a program with a function by whose name the runtime of OCaml 5 is known,
 * which runs its code on small stacks in its heap. Tells how much of what lies below such
 * stacks somebody changed (overwritten), in the main thread and another.
 */
#include "above_memory.h"

#include <pthread.h>

int caml_try_realloc_stack(long words);

int caml_try_realloc_stack(long words)
{
	return words == 0;
}

static void *work(void *argument)
{
	(void)argument;
	set_alternate_stack();
	return (void *)work_above_memory();
}

int main(void)
{
	intptr_t overwritten;
	pthread_t thread;
	void *result;

	set_alternate_stack();
	if (pthread_create(&thread, NULL, work, NULL))
		return 1;
	overwritten = work_above_memory();
	pthread_join(thread, &result);
	tell("overwritten", overwritten + (intptr_t)result);
	return 0;
}
