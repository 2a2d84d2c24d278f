/*
 * bare_threads MODE [LIBRARY]: threads that the C library knows nothing of, or no more.
 * Prints the same in every run.
 *
 *   own_tls      raw clone() threads with a thread pointer of their own, and no errno
 *   main_exits   the only thread ends by the bare system call, with status 6
 *   group_exits  the process ends by the bare system call, with status 6
 *   main_gone    the main thread ends first; another one works on a coroutine's stack,
 *                after it has loaded that library
 *   c11          two threads of thrd_create() work for 1.2 s of CPU time each
 *   notify       a timer's thread does; the C library makes it by itself
 *   strangers    raw clone() threads do, of a program that sleeps
 *   no_files     no file can be opened any more when the program ends
 *   polling      a thread of the kernel's polls for the program, which sleeps
 *                (status 77: none does here)
 */
#include "burn.h"

#include <dlfcn.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <threads.h>
#include <ucontext.h>

#define THREADS 2
#define STACK_BYTES ((size_t)256 << 10)
/* The agent looks for strangers a few times a second, and believes it the second time. */
#define STRANGERS_US 4000000
#define WORK_NS (300 * NS_PER_MS)
#define LONG_WORK_NS (1200 * NS_PER_MS)
#define POLLING_MS 4000

NOINLINE void coroutine_work(void);
NOINLINE int own_tls_work(void *unused);
NOINLINE int stranger_work(void *unused);
NOINLINE int c11_work(void *unused);
NOINLINE void notified_work(union sigval unused);
NOINLINE uint64_t look_at_the_clock(int64_t cpu_ns);

static _Atomic bool is_over;
static _Atomic int threads_done;

static void *get_pages(size_t size_bytes)
{
	void *pages = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
}

/* Nothing of the C library's: it would look for the thread's own variables. */
static int end_alone(void)
{
	atomic_fetch_add(&threads_done, 1);
	__asm__ volatile("syscall" ::"a"(SYS_exit), "D"(0) : "rcx", "r11", "memory");
	return 0;
}

int own_tls_work(void *unused)
{
	(void)unused;
	while (!atomic_load_explicit(&is_over, memory_order_relaxed))
		;
	return end_alone();
}

static int64_t cpu_ns_of_stranger(void)
{
	struct timespec now;
	long result = SYS_clock_gettime;

	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(CLOCK_THREAD_CPUTIME_ID), "S"(&now)
			 : "rcx", "r11", "memory");
	return now.tv_sec * 1000 * NS_PER_MS + now.tv_nsec;
}

int stranger_work(void *unused)
{
	(void)unused;
	while (cpu_ns_of_stranger() < LONG_WORK_NS) {
		for (int i = 0; i < 10000; i++)
			__asm__ volatile("" ::"r"(i));
	}
	return end_alone();
}

/* A page of which only the upper half is there: below the pointer lies nothing. */
static int clone_threads(int (*work)(void *))
{
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		    CLONE_SYSVSEM | CLONE_SETTLS;

	for (int i = 0; i < THREADS; i++) {
		char *stack = get_pages(STACK_BYTES);
		char *pages = get_pages(2 * 4096);
		void **thread_pointer = (void **)(pages + 4096);

		if (!stack || !pages || mprotect(pages, 4096, PROT_NONE) != 0)
			return 3;
		*thread_pointer = thread_pointer;
		if (clone(work, stack + STACK_BYTES, flags, NULL, NULL, thread_pointer) <
		    0)
			return 4;
	}
	return 0;
}

static int run_own_tls(void)
{
	int status = clone_threads(own_tls_work);

	if (status)
		return status;
	usleep(STRANGERS_US);
	atomic_store(&is_over, true);
	while (atomic_load(&threads_done) < THREADS)
		burn_here(10 * NS_PER_MS);
	return 0;
}

static void sleep_until_done(int threads)
{
	while (atomic_load(&threads_done) < threads)
		usleep(20000);
}

static int run_strangers(void)
{
	int status = clone_threads(stranger_work);

	if (!status)
		sleep_until_done(THREADS);
	return status;
}

int c11_work(void *unused)
{
	burn_here(LONG_WORK_NS);
	return unused ? 5 : 0;
}

/* A thread's result is its own, and threads that cannot be made are told of. */
static int run_c11(void)
{
	thrd_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (thrd_create(&threads[i], c11_work, i ? &is_over : NULL) !=
		    thrd_success)
			return 3;
	for (int i = 0; i < THREADS; i++) {
		int result = -1;

		if (thrd_join(threads[i], &result) != thrd_success)
			return 4;
		tell("result", result);
	}
	return 0;
}

void notified_work(union sigval unused)
{
	(void)unused;
	burn_here(LONG_WORK_NS);
	atomic_fetch_add(&threads_done, 1);
}

static int run_notify(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD,
				 .sigev_notify_function = notified_work};
	struct itimerspec once = {.it_value = {0, 1000}};
	timer_t timer;

	if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
	    timer_settime(timer, 0, &once, NULL) != 0)
		return 3;
	sleep_until_done(1);
	return 0;
}

static ucontext_t back, coroutine;
static const char *library;
static int64_t (*library_work)(int64_t);

static bool open_library(void)
{
	void *handle = dlopen(library, RTLD_NOW);

	library_work = handle ? (int64_t(*)(int64_t))dlsym(handle, "churn_work") : NULL;
	return library_work;
}

void coroutine_work(void)
{
	library_work(WORK_NS);
	burn_here(WORK_NS);
}

/* Most of it in the kernel's page of functions. */
uint64_t look_at_the_clock(int64_t cpu_ns)
{
	int64_t start_ns = thread_cpu_ns();
	uint64_t sum = 0;

	do {
		for (int i = 0; i < 10000; i++)
			sum += (uint64_t)clock_ns(CLOCK_MONOTONIC);
	} while (thread_cpu_ns() - start_ns < cpu_ns);
	return sum;
}

static void *outliving_thread(void *unused)
{
	char *stack = get_pages(STACK_BYTES);

	usleep(300000); /* the main thread has ended for long */
	if (!stack || !open_library())
		_exit(3);
	getcontext(&coroutine);
	coroutine.uc_stack.ss_sp = stack;
	coroutine.uc_stack.ss_size = STACK_BYTES;
	coroutine.uc_link = &back;
	makecontext(&coroutine, coroutine_work, 0);
	swapcontext(&back, &coroutine);
	look_at_the_clock(WORK_NS);
	if (write(1, "worked\n", 7) != 7)
		_exit(4);
	return unused;
}

static int run_main_gone(void)
{
	pthread_t id;

	if (pthread_create(&id, NULL, outliving_thread, NULL) != 0)
		return 3;
	pthread_exit(NULL);
}

/* Having done something it polls for more. */
static int run_polling(void)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SQPOLL,
					 .sq_thread_idle = POLLING_MS};
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	char *pages;

	if (ring < 0)
		return 77;
	/* Its one entry is all 0: an operation that does nothing. */
	pages = mmap(NULL, params.sq_off.array + sizeof(uint32_t), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	if (pages == MAP_FAILED)
		return 3;
	atomic_store((_Atomic uint32_t *)(pages + params.sq_off.tail), 1);
	if (syscall(SYS_io_uring_enter, ring, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0) < 0)
		return 4;
	usleep(POLLING_MS / 2 * 1000);
	return 0;
}

static int run_no_files(void)
{
	struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_NOFILE, &none) != 0)
		return 3;
	burn_here(100 * NS_PER_MS);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "own_tls") == 0)
		return run_own_tls();
	if (strcmp(mode, "strangers") == 0)
		return run_strangers();
	if (strcmp(mode, "c11") == 0)
		return run_c11();
	if (strcmp(mode, "notify") == 0)
		return run_notify();
	if (strcmp(mode, "polling") == 0)
		return run_polling();
	library = argc > 2 ? argv[2] : "";
	if (strcmp(mode, "main_gone") == 0)
		return run_main_gone();
	if (strcmp(mode, "no_files") == 0)
		return run_no_files();
	burn_here(100 * NS_PER_MS);
	if (strcmp(mode, "main_exits") == 0)
		syscall(SYS_exit, 6);
	if (strcmp(mode, "group_exits") == 0)
		syscall(SYS_exit_group, 6);
	return 2;
}
