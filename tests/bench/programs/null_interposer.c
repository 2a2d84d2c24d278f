/*
 * The least that a preloaded library can cost: the functions that programs call
 * through us most often, forwarded and nothing else. What the agent costs beyond
 * this is the agent's own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

/* One jump. At first it leads to what finds the target, at the first call, which may
 * come before any constructor. */
#define FORWARD_TO(type, name, target, parameters, arguments)                            \
	static type find_##name parameters;                                              \
	static type(*next_##name) parameters = find_##name;                              \
	static type find_##name parameters                                               \
	{                                                                                \
		*(void **)&next_##name = dlsym(RTLD_NEXT, target);                       \
		return next_##name arguments;                                            \
	}                                                                                \
	EXPORT type name parameters;                                                     \
	type name parameters                                                             \
	{                                                                                \
		return next_##name arguments;                                            \
	}
#define FORWARD(type, name, parameters, arguments)                                       \
	FORWARD_TO(type, name, #name, parameters, arguments)

FORWARD(int, pthread_create,
	(pthread_t * id, const pthread_attr_t *attributes, void *(*entry)(void *),
	 void *argument),
	(id, attributes, entry, argument))
FORWARD(int, sigaction,
	(int number, const struct sigaction *action, struct sigaction *old),
	(number, action, old))
FORWARD(int, sigprocmask, (int how, const sigset_t *set, sigset_t *old), (how, set, old))
FORWARD(int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *old),
	(how, set, old))

/* --- the allocator --- */

FORWARD(void *, malloc, (size_t size_bytes), (size_bytes))
FORWARD(void, free, (void *ptr), (ptr))
/* Of old programs; the C library has it only for them. */
FORWARD_TO(void, cfree, "free", (void *ptr), (ptr))
FORWARD(void *, calloc, (size_t count, size_t size_bytes), (count, size_bytes))
FORWARD(void *, realloc, (void *ptr, size_t size_bytes), (ptr, size_bytes))
FORWARD(void *, reallocarray, (void *ptr, size_t count, size_t size_bytes),
	(ptr, count, size_bytes))
FORWARD(void *, memalign, (size_t alignment_bytes, size_t size_bytes),
	(alignment_bytes, size_bytes))
FORWARD(void *, aligned_alloc, (size_t alignment_bytes, size_t size_bytes),
	(alignment_bytes, size_bytes))
FORWARD(int, posix_memalign, (void **ptr, size_t alignment_bytes, size_t size_bytes),
	(ptr, alignment_bytes, size_bytes))
FORWARD(void *, valloc, (size_t size_bytes), (size_bytes))
FORWARD(void *, pvalloc, (size_t size_bytes), (size_bytes))
FORWARD(size_t, malloc_usable_size, (void *ptr), (ptr))
