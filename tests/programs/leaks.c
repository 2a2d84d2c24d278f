/*
 * leaks: allocates in three places and forgets most of it; threads forget, too.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_COUNT 1000

static void *kept[SMALL_COUNT];

static void *touch(void *block, size_t size_bytes)
{
	if (!block)
		exit(1);
	return memset(block, 1, size_bytes);
}

__attribute__((noinline)) static void leak_large(void)
{
	for (int i = 0; i < 5; i++)
		kept[i] = touch(malloc(1 << 20), 1 << 20);
}

__attribute__((noinline)) static void leak_small(void)
{
	for (int i = 5; i < SMALL_COUNT; i++)
		kept[i] = touch(malloc(100), 100);
}

__attribute__((noinline)) static void free_again(void)
{
	for (int i = 0; i < 100; i++)
		free(touch(malloc(1 << 16), 1 << 16));
}

static void *leak_in_thread(void *argument)
{
	kept[0] = touch(malloc(2 << 20), 2 << 20);
	return argument;
}

int main(void)
{
	pthread_t thread;

	leak_large();
	leak_small();
	free_again();
	if (pthread_create(&thread, NULL, leak_in_thread, NULL) != 0)
		return 1;
	pthread_join(thread, NULL);
	puts("done");
	return 0;
}
