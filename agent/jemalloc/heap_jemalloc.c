/*
 * sp_heap over the agent's private jemalloc: Debian's position-independent
 * archive with its public names rewritten (agent/CMakeLists.txt), so that it is
 * neither seen nor configured by a host that has a jemalloc of its own. Where the user
 * has it serve the program, the agent keeps out: the program may be interrupted for
 * good inside, with its locks held. It keeps out as well where the program's memory is
 * limited, of which jemalloc would take 8 MiB at once. It begins when the agent needs
 * more than what a program that only starts and ends makes it need (heap_start.c).
 * Context: collector.
 */
#include "heap_jemalloc.h"

#include "heap_pages.h"
#include "heap_start.h"
#include "jemalloc_thread.h"
#include "jemalloc_variables.h"
#include "sp_alloc_choice.h"
#include "sp_clock.h"
#include "sp_heap.h"
#include "sp_jemalloc.h"
#include "sp_syscall.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>

/* All that jemalloc is told: MALLOC_CONF and /etc/malloc.conf are the program's, see
 * sp_je_no_variable(). */
const char *sp_je_malloc_conf_2_conf_harder = SP_JEMALLOC_CONF_OWN;

/*
 * A fork copies the heap as it is at that moment. The archive's own fork handlers are
 * for the heap of the program only: on the agent's they would make the host wait for
 * locks, and the C library takes shortcuts with locks while it believes in a single
 * thread. Instead the fork asks our thread to stay out of the heap, and gives it a
 * moment to finish the call it is in.
 */
#define FORK_WAIT_NS UINT64_C(5000000)

/* A fork that takes longer gets a torn copy: it may never be over, as a handler of the
 * program's can jump out of it. */
#define STAY_OUT_NS UINT64_C(100000000)

static _Atomic uint32_t forks_under_way, calls_under_way;
static _Atomic uint64_t last_fork_ns;
static _Atomic bool is_copy_torn;

/* False also when it must be waited for no longer. */
static bool is_fork_under_way(void)
{
	uint32_t forks = atomic_load(&forks_under_way);

	if (!forks)
		return false;
	if (sp_clock_monotonic_ns() - atomic_load(&last_fork_ns) < STAY_OUT_NS)
		return true;
	return !atomic_compare_exchange_strong(&forks_under_way, &forks, 0);
}

static void enter(void)
{
	/* Sequentially consistent on both sides: either the fork sees the call or the
	 * call sees the fork. */
	for (;;) {
		atomic_fetch_add(&calls_under_way, 1);
		if (!is_fork_under_way())
			return;
		atomic_fetch_sub(&calls_under_way, 1);
		sp_syscall0(SYS_sched_yield);
	}
}

static void leave(void)
{
	atomic_fetch_sub(&calls_under_way, 1);
}

void sp_heap_before_fork(void)
{
	uint64_t deadline_ns = 0;

	atomic_store(&last_fork_ns, sp_clock_monotonic_ns());
	atomic_fetch_add(&forks_under_way, 1);
	while (atomic_load(&calls_under_way)) {
		uint64_t now_ns = sp_clock_monotonic_ns();

		if (!deadline_ns)
			deadline_ns = now_ns + FORK_WAIT_NS;
		if (now_ns >= deadline_ns)
			return;
		sp_syscall0(SYS_sched_yield);
	}
}

void sp_heap_after_fork_in_parent(void)
{
	uint32_t forks = atomic_load(&forks_under_way);

	/* None: it was taken for one that is never over. */
	while (forks &&
	       !atomic_compare_exchange_weak(&forks_under_way, &forks, forks - 1))
		;
}

void sp_heap_after_fork_in_child(void)
{
	if (atomic_load(&calls_under_way))
		atomic_store(&is_copy_torn, true);
	atomic_store(&calls_under_way, 0);
	atomic_store(&forks_under_way, 0);
}

bool sp_heap_is_usable(void)
{
	return !atomic_load(&is_copy_torn);
}

static bool is_limited(int resource)
{
	struct rlimit limit;

	return sp_syscall4(SYS_prlimit64, 0, resource, NULL, &limit) == 0 &&
	       limit.rlim_cur != RLIM_INFINITY;
}

enum heap { HEAP_UNDECIDED, HEAP_JEMALLOC, HEAP_PAGES };

/* Whose block it is must be plain for ever: what the first call finds counts. */
static bool uses_pages(void)
{
	static _Atomic int decided;
	int heap = atomic_load_explicit(&decided, memory_order_relaxed);

	if (heap == HEAP_UNDECIDED) {
		int first = sp_alloc_is_jemalloc() || is_limited(RLIMIT_AS) ||
					    is_limited(RLIMIT_DATA) ||
					    !sp_jemalloc_variables_open()
				    ? HEAP_PAGES
				    : HEAP_JEMALLOC;

		if (atomic_compare_exchange_strong(&decided, &heap, first))
			heap = first;
	}
	return heap == HEAP_PAGES;
}

/* --- first, then jemalloc --- */

static void *alloc(size_t size_bytes)
{
	void *ptr = sp_heap_start_alloc(size_bytes);

	if (ptr)
		return ptr;
	sp_je_thread_enter();
	ptr = sp_je_malloc(size_bytes);
	sp_je_thread_leave();
	return ptr;
}

static void *zalloc(size_t size_bytes)
{
	void *ptr = sp_heap_start_alloc(size_bytes);

	if (ptr)
		return ptr;
	sp_je_thread_enter();
	ptr = sp_je_calloc(1, size_bytes);
	sp_je_thread_leave();
	return ptr;
}

static void *move_out(void *ptr, size_t size_bytes)
{
	size_t old_bytes = sp_heap_start_size(ptr);
	void *moved;

	if (size_bytes <= old_bytes)
		return ptr;
	moved = alloc(size_bytes);
	if (moved)
		memcpy(moved, ptr, old_bytes);
	return moved;
}

static void *resize(void *ptr, size_t size_bytes)
{
	if (!ptr)
		return alloc(size_bytes);
	if (sp_heap_start_owns(ptr))
		return move_out(ptr, size_bytes);
	sp_je_thread_enter();
	ptr = sp_je_realloc(ptr, size_bytes);
	sp_je_thread_leave();
	return ptr;
}

static void release(void *ptr)
{
	if (sp_heap_start_owns(ptr))
		return;
	sp_je_thread_enter();
	sp_je_free(ptr);
	sp_je_thread_leave();
}

/* --- whichever it is --- */

void sp_heap_init(void)
{
	if (!sp_alloc_is_jemalloc())
		return;
	sp_je_thread_enter();
	sp_je_free(sp_je_malloc(1));
	sp_je_thread_leave();
}

void *sp_heap_alloc(size_t size_bytes)
{
	void *ptr;

	enter();
	ptr = uses_pages() ? sp_heap_pages_alloc(size_bytes) : alloc(size_bytes);
	leave();
	return ptr;
}

void *sp_heap_zalloc(size_t size_bytes)
{
	void *ptr;

	enter();
	ptr = uses_pages() ? sp_heap_pages_zalloc(size_bytes) : zalloc(size_bytes);
	leave();
	return ptr;
}

void *sp_heap_realloc(void *ptr, size_t size_bytes)
{
	enter();
	ptr = uses_pages() ? sp_heap_pages_realloc(ptr, size_bytes)
			   : resize(ptr, size_bytes);
	leave();
	return ptr;
}

void sp_heap_free(void *ptr)
{
	enter();
	if (uses_pages())
		sp_heap_pages_free(ptr);
	else
		release(ptr);
	leave();
}

/*
 * The libraries linked into the agent (demangler, compression, protobuf) say malloc();
 * the linker sends that here (--wrap), not to the program's heap.
 */
void *__wrap_malloc(size_t size_bytes);
void *__wrap_calloc(size_t count, size_t size_bytes);
void *__wrap_realloc(void *ptr, size_t size_bytes);
void __wrap_free(void *ptr);

void *__wrap_malloc(size_t size_bytes)
{
	return sp_heap_alloc(size_bytes);
}

void *__wrap_calloc(size_t count, size_t size_bytes)
{
	size_t bytes;

	return __builtin_mul_overflow(count, size_bytes, &bytes) ? NULL
								 : sp_heap_zalloc(bytes);
}

void *__wrap_realloc(void *ptr, size_t size_bytes)
{
	return sp_heap_realloc(ptr, size_bytes);
}

void __wrap_free(void *ptr)
{
	sp_heap_free(ptr);
}

/*
 * What the archive refers to and never reaches with the configuration above: its own
 * profiler (mathematics, a backtrace by libgcc) and its background threads, which would
 * make the host load two libraries more.
 */
double sp_je_no_exp(double x);
double sp_je_no_log(double x);
double sp_je_no_round(double x);
int sp_je_no_backtrace(void *callback, void *argument);
unsigned long sp_je_no_get_ip(void *context);
int sp_je_no_thread(pthread_t *thread, const pthread_attr_t *attributes,
		    void *(*start_routine)(void *), void *argument);
void *sp_je_no_symbol(void *handle, const char *name);
char *sp_je_no_variable(const char *name);
ssize_t sp_je_no_link(const char *path, char *target, size_t target_bytes);

double sp_je_no_exp(double x)
{
	return x;
}

double sp_je_no_log(double x)
{
	return x;
}

double sp_je_no_round(double x)
{
	return x;
}

int sp_je_no_backtrace(void *callback, void *argument)
{
	(void)callback;
	(void)argument;
	return 0;
}

unsigned long sp_je_no_get_ip(void *context)
{
	(void)context;
	return 0;
}

int sp_je_no_thread(pthread_t *thread, const pthread_attr_t *attributes,
		    void *(*start_routine)(void *), void *argument)
{
	(void)thread;
	(void)attributes;
	(void)start_routine;
	(void)argument;
	return EAGAIN;
}

/* It looks for the pthread_create() that it would make them with: by the loader, whose
 * lock a thread of the program's may have, and through a dlsym() of the program's. */
void *sp_je_no_symbol(void *handle, const char *name)
{
	(void)handle;
	(void)name;
	return NULL;
}

/*
 * MALLOC_CONF and the link /etc/malloc.conf are meant for a jemalloc of the program's,
 * and what another version does not know would be told on the program's standard error.
 */
char *sp_je_no_variable(const char *name)
{
	(void)name;
	return NULL;
}

ssize_t sp_je_no_link(const char *path, char *target, size_t target_bytes)
{
	(void)path;
	(void)target;
	(void)target_bytes;
	return -1;
}

/*
 * What it asks the kernel it asks no function of the C library's name: that may be one
 * of the program's, or of a library in front of it (libfaketime, libuid_wrapper), which
 * may be at work on the thread that we interrupt, or be over at the program's end.
 */
int sp_je_clock_gettime(clockid_t clock, struct timespec *now);
long sp_je_syscall(long number, ...);

static long as_c_library(long result)
{
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

int sp_je_clock_gettime(clockid_t clock, struct timespec *now)
{
	return (int)as_c_library(sp_clock_gettime(clock, now));
}

/* None of its calls has more than three arguments. */
long sp_je_syscall(long number, ...)
{
	va_list arguments;
	long a, b, c;

	va_start(arguments, number);
	a = va_arg(arguments, long);
	b = va_arg(arguments, long);
	c = va_arg(arguments, long);
	va_end(arguments);
	return as_c_library(sp_syscall3(number, a, b, c));
}

int sp_je_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

static struct {
	void (*prepare)(void), (*parent)(void), (*child)(void);
} at_fork;

static void prepare_fork(void)
{
	sp_je_thread_enter();
	at_fork.prepare();
}

static void go_on_in_parent(void)
{
	at_fork.parent();
	sp_je_thread_leave();
}

static void go_on_in_child(void)
{
	at_fork.child();
	sp_je_thread_forked();
	sp_je_thread_leave();
}

/* Of all fork handlers these are registered first, so that the others may allocate. */
int sp_je_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	at_fork.prepare = prepare;
	at_fork.parent = parent;
	at_fork.child = child;
	return sp_alloc_is_jemalloc()
		       ? pthread_atfork(prepare_fork, go_on_in_parent, go_on_in_child)
		       : 0;
}
