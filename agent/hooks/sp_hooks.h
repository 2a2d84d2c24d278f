/*
 * What the hooks of threads and processes need from the agent, and what they give
 * it. The hooks hold no policy: they call the agent's functions below at the
 * moments that their names say.
 */
#ifndef SP_HOOKS_H
#define SP_HOOKS_H

#include <pthread.h>
#include <stdbool.h>

struct sp_slot;

struct sp_hook_calls {
	/* A place where the agent may create threads and wait: starts what a fork
	 * child put off. */
	void (*safe_point)(void);
	/* The process image is about to go: write the profiles now. */
	void (*before_exec)(void);
	/* The process is about to end without running destructors. */
	void (*before_exit)(void);
	/* It did not go, or end, after all; or there was no word of that. */
	void (*goes_on)(void);
	/* The process is about to lose sight of the folders it started with. */
	void (*before_chroot)(void);
	/* The program gives up system calls that we need: make none from here on. */
	void (*before_confinement)(void);
	/* The calling thread acts for another user or group, or may do less. Where ours
	 * may not follow by the calls for that, it is made anew. */
	void (*rights_changed)(bool may_follow);
	/* The program has limited its address space. */
	void (*addresses_limited)(void);
	/* In a fork child, where no fork handler ran. System calls only. */
	void (*forked)(void);
	/* Our thread must not exist across this call (unshare and setns refuse
	 * processes with threads). */
	bool (*pause_reporter)(void);
	void (*resume_reporter)(void);
};

/*
 * Context: init. Starts the agent unless it has started: in its constructor, or when
 * an earlier constructor makes a thread. Absent where hooks are linked without it.
 */
void sp_agent_start(void) __attribute__((weak));

/* Context: init. Hooks pass everything through until then. */
void sp_hooks_set_calls(const struct sp_hook_calls *calls);

/* Context: hook. Has the agent started? */
bool sp_hooks_are_set(void);

/* Context: hook. Is this process, not a vfork child that shares our memory, ours? */
bool sp_hooks_is_own_process(void);

/* Context: hook. What to call, or NULL where there is nothing to do: before our
 * constructor, and in a vfork child. */
const struct sp_hook_calls *sp_hooks_own_calls(void);

/* Context: hook. What unshare() and setns() do, for syscall() with either number; returns
 * as syscall() does. */
long sp_hooks_move_by_syscall(long number, long first, long second);

/* Context: hook. A function that our hook of that name only calls on: calls of it may be
 * spans like those of one that we leave alone. */
bool sp_hooks_may_be_span(const char *name);

/* Context: init. Notices the end of threads; 0 or an error number. */
int sp_hooks_thread_init(void);

/* Context: hook, in a fork child: the calling thread's slot is its parent's. */
void sp_hooks_thread_forked(void);

/* Context: signal. Slot of the calling thread if pthread_create() gave it one. */
struct sp_slot *sp_hooks_thread_slot(void);

/* Context: hook. A filter of system calls kills, or may soon, for those by which our
 * thread would give up rights. */
void sp_hooks_rights_forbid(void);

/* Context: init. pthread_create() of the C library, without our hook. */
int sp_hooks_create_own_thread(pthread_t *thread, const pthread_attr_t *attributes,
			       void *(*start_routine)(void *), void *argument);

#endif
