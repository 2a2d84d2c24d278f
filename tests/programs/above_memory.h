/*
 * Code that works with the stack pointer right above memory in use, as that of runtimes
 * does which have their stacks in their heap: their handlers run on alternate stacks.
 */
#ifndef ABOVE_MEMORY_H
#define ABOVE_MEMORY_H

#include "burn.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN 0x5a
#define MEMORY_BYTES 65536
/* What code may use below the stack pointer. */
#define RED_ZONE_BYTES 128

static void set_alternate_stack(void)
{
	stack_t stack = {.ss_size = (size_t)sysconf(_SC_SIGSTKSZ)};

	stack.ss_sp = malloc(stack.ss_size);
	if (stack.ss_sp == NULL || sigaltstack(&stack, NULL))
		exit(3);
}

/* How many bytes below the stack pointer were not as they should be afterwards. */
static intptr_t work_above_memory(void)
{
	unsigned char *memory = malloc(MEMORY_BYTES);
	size_t count = MEMORY_BYTES / 2 - RED_ZONE_BYTES;
	intptr_t overwritten = 0;
	int64_t start_ns = thread_cpu_ns();

	if (memory == NULL)
		exit(3);
	memset(memory, PATTERN, MEMORY_BYTES);
	do {
		long rounds = 5000000;

		__asm__ volatile("mov %%rsp, %%rbx\n\t"
				 "mov %1, %%rsp\n\t"
				 "1: dec %0\n\t"
				 "jnz 1b\n\t"
				 "mov %%rbx, %%rsp"
				 : "+r"(rounds)
				 : "r"(memory + MEMORY_BYTES / 2)
				 : "rbx", "cc", "memory");
	} while (thread_cpu_ns() - start_ns < 300 * NS_PER_MS);
	for (size_t i = 0; i < count; i++)
		overwritten += memory[i] != PATTERN;
	free(memory);
	return overwritten;
}

#endif
