/*
 * Birth and end of threads. pthread_create() and thrd_create(), which does not go by way
 * of it, hand a slot to the new thread, which arms its own timer before it runs the
 * program's function; a thread-specific key whose destructor asks to be called again
 * until the last round notices its end, also by pthread_exit() and cancellation. Threads
 * made otherwise are found by the reporter thread. Context: hook, cold.
 */
#include "sp_hooks.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_cpu_timer.h"
#include "sp_heap_capture.h"
#include "sp_next.h"
#include "sp_own_block.h"
#include "sp_signal.h"
#include "sp_span_capture.h"
#include "sp_thread.h"

#include <limits.h>
#include <stdint.h>
#include <threads.h>
#include <time.h>

static pthread_key_t end_key;
static bool has_end_key;

static size_t default_stack_bytes(void)
{
	static _Atomic size_t known_bytes;
	/* Relaxed: whoever computes it finds the same. */
	size_t bytes = atomic_load_explicit(&known_bytes, memory_order_relaxed);
	pthread_attr_t attributes;

	if (bytes || pthread_attr_init(&attributes) != 0)
		return bytes;
	pthread_attr_getstacksize(&attributes, &bytes);
	pthread_attr_destroy(&attributes);
	atomic_store_explicit(&known_bytes, bytes, memory_order_relaxed);
	return bytes;
}

/* The key's value: slot | round, as slots are 256-aligned in the recording. */
static void note_end(void *value)
{
	uintptr_t round = (uintptr_t)value & 0xff;
	struct sp_slot *slot = (struct sp_slot *)((uintptr_t)value - round);

	/* Other keys' destructors of this round may still use CPU time: go last. */
	if (round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS &&
	    pthread_setspecific(end_key, (void *)((uintptr_t)value + 1)) == 0)
		return;
	if (!sp_capture_is_running() || !sp_hooks_is_own_process())
		return;
	sp_cpu_timer_disarm(slot);
	sp_signal_thread_end();
	sp_span_thread_end();
	sp_thread_set_own_slot(NULL);
	sp_heap_thread_end();
	sp_thread_end(slot, sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID));
}

void sp_hooks_thread_forked(void)
{
	/* The slot is the parent's. */
	if (has_end_key)
		pthread_setspecific(end_key, NULL);
}

struct sp_slot *sp_hooks_thread_slot(void)
{
	uintptr_t value = has_end_key ? (uintptr_t)pthread_getspecific(end_key) : 0;

	return (struct sp_slot *)(value & ~(uintptr_t)0xff);
}

int sp_hooks_thread_init(void)
{
	int err = pthread_key_create(&end_key, note_end);

	has_end_key = err == 0;
	return err;
}

/*
 * The C library keeps its thread descriptor, and with it the address that
 * pthread_self() returns, at the upper end of the stack: all frames lie below.
 */
static void begin_thread(struct sp_slot *slot)
{
	uint64_t high = (uint64_t)pthread_self();
	uint64_t stack_bytes =
		atomic_load_explicit(&slot->stack_low, memory_order_relaxed);
	uint32_t flags = atomic_load_explicit(&slot->start_flags, memory_order_relaxed);

	pthread_setspecific(end_key, slot);
	sp_thread_begin(slot, high - stack_bytes, high);
	sp_thread_set_own_slot(slot);
	sp_heap_thread_begin(slot);
	if (flags & SP_THREAD_SMALL_STACK)
		sp_signal_use_own_stack();
	sp_cpu_timer_arm(slot);
}

static void *start_argument_of(const struct sp_slot *slot)
{
	return (void *)(uintptr_t)atomic_load_explicit(&slot->start_argument,
						       memory_order_relaxed);
}

static uintptr_t begin_and_find_start(struct sp_slot *slot)
{
	uintptr_t start_routine = (uintptr_t)atomic_load_explicit(&slot->start_routine,
								  memory_order_relaxed);

	if (sp_capture_is_running())
		begin_thread(slot);
	return start_routine;
}

static void *run_thread(void *argument)
{
	void *start_argument = start_argument_of(argument);

	return ((void *(*)(void *))begin_and_find_start(argument))(start_argument);
}

static int run_c11_thread(void *argument)
{
	void *start_argument = start_argument_of(argument);

	return ((thrd_start_t)begin_and_find_start(argument))(start_argument);
}

static size_t stack_bytes_of(const pthread_attr_t *attributes)
{
	size_t bytes = 0;

	if (!attributes || pthread_attr_getstacksize(attributes, &bytes) != 0)
		bytes = default_stack_bytes();
	return bytes;
}

int sp_hooks_create_own_thread(pthread_t *thread, const pthread_attr_t *attributes,
			       void *(*start_routine)(void *), void *argument)
{
	int err;

	sp_own_block_is_wanted = true;
	err = SP_NEXT(pthread_create)(thread, attributes, start_routine, argument);
	sp_own_block_is_wanted = false;
	return err;
}

/* The slot of a thread that is about to be made; NULL when it is to be made as without
 * us. */
static struct sp_slot *claim_slot(uintptr_t start_routine, void *argument,
				  const pthread_attr_t *attributes)
{
	const struct sp_hook_calls *calls;
	size_t stack_bytes;

	/* Constructors of other libraries run before ours. */
	if (sp_unlikely(!sp_hooks_are_set()) && sp_agent_start)
		sp_agent_start();
	calls = sp_hooks_own_calls();
	if (!calls)
		return NULL;
	calls->safe_point();
	stack_bytes = stack_bytes_of(attributes);
	if (!has_end_key || !sp_capture_is_running())
		return NULL;
	return sp_thread_claim(
		start_routine, argument, stack_bytes,
		stack_bytes < SP_SIGNAL_STACK_BYTES_MIN ? SP_THREAD_SMALL_STACK : 0);
}

SP_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			     void *(*start_routine)(void *), void *argument)
{
	struct sp_slot *slot = claim_slot((uintptr_t)start_routine, argument, attributes);
	int err;

	if (!slot)
		return SP_NEXT(pthread_create)(thread, attributes, start_routine,
					       argument);
	err = SP_NEXT(pthread_create)(thread, attributes, run_thread, slot);
	if (err)
		sp_thread_unclaim(slot);
	return err;
}

SP_EXPORT int thrd_create(thrd_t *thread, thrd_start_t start_routine, void *argument)
{
	struct sp_slot *slot = claim_slot((uintptr_t)start_routine, argument, NULL);
	int result;

	if (!slot)
		return SP_NEXT(thrd_create)(thread, start_routine, argument);
	result = SP_NEXT(thrd_create)(thread, run_c11_thread, slot);
	if (result != thrd_success)
		sp_thread_unclaim(slot);
	return result;
}
