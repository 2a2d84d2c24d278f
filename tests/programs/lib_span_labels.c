/*
 * Functions by the names of well-known ones, as their libraries declare them as far as
 * that says where the text is. Each allocates a block (span_labels.c).
 */
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

void *last_block;

static int allocate(void)
{
	free(last_block);
	last_block = malloc(100);
	/* Or the call would be a jump, and the function in no stack. */
	__asm__ volatile("" ::: "memory");
	return last_block == NULL;
}

#define SECOND(name)                                                                     \
	int name(void *object, const char *text);                                        \
	int name(void *object, const char *text)                                         \
	{                                                                                \
		(void)object;                                                            \
		return allocate() + (text == NULL);                                      \
	}
#define THIRD(name)                                                                      \
	int name(void *object, const char *statement, const char *text);                 \
	int name(void *object, const char *statement, const char *text)                  \
	{                                                                                \
		(void)object;                                                            \
		(void)statement;                                                         \
		return allocate() + (text == NULL);                                      \
	}
#define COUNTED(name)                                                                    \
	int name(void *object, const char *text, long bytes);                            \
	int name(void *object, const char *text, long bytes)                             \
	{                                                                                \
		(void)object;                                                            \
		return allocate() + (text == NULL) + (bytes == 0);                       \
	}

#include "span_label_functions.h"
SECOND(redisCommand)

int SSL_connect(void *object);
int SSL_connect(void *object)
{
	return allocate() + (object == NULL);
}

/* What the object says of itself, after a while. */
const char *SSL_get_servername(const void *object, int type);
const char *SSL_get_servername(const void *object, int type)
{
	const struct timespec pause = {1, 0};

	nanosleep(&pause, NULL);
	return object && type == 0 ? "a.server" : NULL;
}
