/*
 * See jemalloc_thread.h. The state begins as the archive's thread-local storage would
 * have, and is given back in one of the last rounds of the thread's destructors: those of
 * the program's call jemalloc, too. What comes later gets a state for each call, which
 * the same destructor of jemalloc's cleans up, and so does a thread that there is no
 * memory for: it takes the one that is there for that, in turn with others. Context: as
 * sp_je_malloc().
 */
#include "jemalloc_thread.h"

#include "jemalloc_locks.h"
#include "sp_pages.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

SP_TLS ptrdiff_t sp_je_thread_distance;
SP_TLS bool sp_je_thread_is_for_call;

/* What was the archive's part of the thread-local storage (variables.ld). */
extern SP_HIDDEN const unsigned char sp_je_thread_first_begin[], sp_je_thread_first_end[];

/* Not the last: a state that began in the first round, in a destructor, does not see that
 * one. */
#define ROUNDS (PTHREAD_DESTRUCTOR_ITERATIONS - 1)

struct state {
	/* More than there is of it: thread_calls.c sees to that. */
	_Alignas(max_align_t) unsigned char of_archive[SP_PAGE_BYTES - 64];
	uint32_t rounds; /* of destructors that it has seen */
};
_Static_assert(sizeof(struct state) <= SP_PAGE_BYTES, "one page a thread");

/* For those that get no memory. */
static struct state last;
static _Atomic uint32_t last_lock;

static SP_TLS bool has_ended;
static pthread_key_t end_key;
static void (*clean_up)(void *state);

static unsigned char *thread_pointer(void)
{
	unsigned char *self;

	__asm__("mov %%fs:0, %0" : "=r"(self));
	return self;
}

static struct state *own_state(void)
{
	return (void *)(thread_pointer() + sp_je_thread_distance);
}

static struct state *take(void)
{
	struct state *state = sp_pages_map(sizeof(*state));

	if (!state) {
		sp_je_lock_take(&last_lock);
		state = &last;
	}
	memcpy(state->of_archive, sp_je_thread_first_begin,
	       (size_t)(sp_je_thread_first_end - sp_je_thread_first_begin));
	return state;
}

static void give(struct state *state)
{
	if (state == &last)
		sp_je_lock_give(&last_lock);
	else
		sp_pages_unmap(state, sizeof(*state));
}

SP_COLD void sp_je_thread_begin(void)
{
	struct state *state = take();
	ptrdiff_t none = 0;

	/* A handler that interrupts this may have done the same. */
	if (!__atomic_compare_exchange_n(&sp_je_thread_distance, &none,
					 (unsigned char *)state - thread_pointer(), false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		give(state);
	else
		sp_je_thread_is_for_call = has_ended || state == &last;
}

static void drop(struct state *state)
{
	sp_je_thread_is_for_call = false;
	sp_je_thread_distance = 0;
	give(state);
}

SP_COLD void sp_je_thread_end_call(void)
{
	struct state *state = own_state();
	int saved_errno = errno;

	if (clean_up) {
		clean_up(state);
		/* Nobody is to find it at the thread's end. */
		pthread_setspecific(end_key, NULL);
	}

	drop(state);
	errno = saved_errno;
}

static void end_round(void *value)
{
	struct state *state = value;

	clean_up(state);
	if (++state->rounds < ROUNDS && pthread_setspecific(end_key, state) == 0)
		return;
	pthread_setspecific(end_key, NULL);
	has_ended = true;
	drop(state);
}

void sp_je_thread_forked(void)
{
	/* Whoever had it is not here. */
	if (!sp_je_thread_is_for_call || own_state() != &last)
		atomic_store_explicit(&last_lock, 0, memory_order_relaxed);
}

/* That name is put into the archive for pthread_key_create. It has one key, and sets it
 * to the state. */
int sp_je_key_create(pthread_key_t *key, void (*destructor)(void *));

int sp_je_key_create(pthread_key_t *key, void (*destructor)(void *))
{
	int err = pthread_key_create(&end_key, end_round);

	if (err == 0) {
		clean_up = destructor;
		*key = end_key;
	}
	return err;
}
