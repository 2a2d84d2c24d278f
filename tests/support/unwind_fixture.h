/*
 * What the tests of the unwinder share: a module table of their own, the bounds of
 * the calling thread's stack, and libraries compiled on the spot.
 */
#ifndef UNWIND_FIXTURE_H
#define UNWIND_FIXTURE_H

#include "sp_modules.h"
#include "sp_unwind.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define ANNOUNCED_MAX 512

struct announced {
	uint32_t count;
	struct sp_module_info info[ANNOUNCED_MAX];
	char path[ANNOUNCED_MAX][SP_MODULE_PATH_BYTES];
};

/* An sp_modules_announce that gives 1, 2, 3, ... */
static inline uint16_t announce(void *context, const struct sp_module_info *info)
{
	struct announced *announced = context;
	uint32_t at = announced->count;

	if (at == ANNOUNCED_MAX)
		return 0;
	announced->info[at] = *info;
	snprintf(announced->path[at], sizeof(announced->path[at]), "%s", info->path);
	announced->info[at].path = announced->path[at];
	announced->count++;
	return (uint16_t)announced->count;
}

static inline const struct sp_unwind_snapshot *snapshot(void)
{
	return atomic_load(&sp_unwind_snapshot);
}

static inline struct sp_unwind_stack own_stack(void)
{
	struct sp_unwind_stack stack = {0};
	pthread_attr_t attributes;
	size_t size_bytes;
	void *low;

	if (pthread_getattr_np(pthread_self(), &attributes) != 0)
		return stack;
	pthread_attr_getstack(&attributes, &low, &size_bytes);
	pthread_attr_destroy(&attributes);
	stack.low = (uint64_t)(uintptr_t)low;
	stack.high = stack.low + size_bytes;
	return stack;
}

/* Compiles C source into a shared library at path; true when that worked. */
static inline bool compile_library(const char *source, const char *flags,
				   const char *path)
{
	char command[1024];
	FILE *compiler;

	snprintf(command, sizeof(command), "cc -shared -fPIC -x c %s -o %s -", flags,
		 path);
	compiler = popen(command, "w");
	if (!compiler)
		return false;
	fputs(source, compiler);
	return pclose(compiler) == 0;
}

static inline bool copy_file(const char *from, const char *to)
{
	char buffer[1 << 16];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	bool is_copied = in >= 0 && out >= 0;
	ssize_t got = 0;

	while (is_copied && (got = read(in, buffer, sizeof(buffer))) > 0)
		is_copied = write(out, buffer, (size_t)got) == got;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return is_copied && got == 0;
}

#endif
