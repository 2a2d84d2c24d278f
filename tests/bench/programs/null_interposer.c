/*
 * The least that a preloaded library can cost: the functions that programs call
 * through us most often, forwarded and nothing else. What the agent costs beyond
 * this is the agent's own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#define EXPORT __attribute__((visibility("default")))

/* Resolved at the first call, which may come before any constructor. */
#define FORWARD(type, name, parameters, arguments)                                       \
	EXPORT type name parameters;                                                     \
	type name parameters                                                             \
	{                                                                                \
		static type(*next) parameters;                                           \
                                                                                         \
		if (next == NULL)                                                        \
			*(void **)&next = dlsym(RTLD_NEXT, #name);                       \
		return next arguments;                                                   \
	}

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
