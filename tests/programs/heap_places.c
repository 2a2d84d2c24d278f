/*
 * heap_places MODE: allocates where that is hardest for whoever looks on.
 *
 *   ends        before every constructor, in exit handlers and destructors
 *   specific    in destructors of thread-specific data, round after round
 *   threads     threads that end by pthread_exit() and by being cancelled in the midst
 *   small       threads with the smallest stack, and next to its end
 *   coroutines  on stacks of its own making, entered from several threads
 *   signals     interrupted thousands of times
 *
 * Tells for each place how much was allocated there.
 */
#include "heap_sites.h"

#include <alloca.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

#define EARLY_BLOCKS 64

extern void *heap_early_blocks[EARLY_BLOCKS];
extern void *heap_late_block;

HEAP_SITE(main_allocate)
HEAP_SITE(handler_allocate)
HEAP_SITE(specific_allocate)
HEAP_SITE(cancelled_allocate)
HEAP_SITE(exiting_allocate)
HEAP_SITE(small_allocate)
HEAP_SITE(coroutine_allocate)

/* --- ends --- */

static void allocate_at_exit(void)
{
	for (int i = 0; i < 10; i++)
		free(handler_allocate(50));
	handler_allocate(60);
	if (write(1, "said by an exit handler\n", 24) < 0)
		_exit(9);
}

__attribute__((destructor)) static void allocate_at_unload(void)
{
	free(handler_allocate(70));
}

static int run_ends(void)
{
	const char *text = heap_early_blocks[1];
	size_t right = 0;

	for (int i = 0; i < 100000; i++)
		right += text[i] == 'e';
	for (int i = 0; i < EARLY_BLOCKS; i += 2)
		free(heap_early_blocks[i]);
	for (int i = 3; i < EARLY_BLOCKS; i += 4)
		heap_early_blocks[i] = realloc(heap_early_blocks[i], 5000);
	heap_late_block = main_allocate(12345);
	printf("resized early: %zu\n", right);
	atexit(allocate_at_exit);
	return 0;
}

/* --- specific --- */

#define SPECIFIC_THREADS 20
static pthread_key_t key;

/* Comes back as often as the C library goes round. */
static void give_back(void *block)
{
	unsigned char round = *(unsigned char *)block;
	unsigned char *next = specific_allocate(200);

	free(block);
	*next = (unsigned char)(round + 1);
	if (round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS)
		pthread_setspecific(key, next);
	else
		free(next);
}

static void *use_specific(void *unused)
{
	unsigned char *block = specific_allocate(100);

	*block = 0;
	pthread_setspecific(key, block);
	return unused;
}

static int run_specific(void)
{
	pthread_t thread;

	if (pthread_key_create(&key, give_back) != 0)
		return 3;
	for (int i = 0; i < SPECIFIC_THREADS; i++)
		if (pthread_create(&thread, NULL, use_specific, NULL) != 0 ||
		    pthread_join(thread, NULL) != 0)
			return 5;
	tell("specific_allocate", SPECIFIC_THREADS * (1 + PTHREAD_DESTRUCTOR_ITERATIONS));
	return 0;
}

/* --- threads --- */

#define ENDING_THREADS 30
#define ENDING_BLOCKS 200
static _Atomic long long exiting_blocks, cancelled_blocks;

static void free_block(void *block)
{
	free(block);
}

static void *exit_in_the_midst(void *unused)
{
	void *block;

	for (int i = 0; i < ENDING_BLOCKS; i++) {
		free(exiting_allocate(30));
		atomic_fetch_add(&exiting_blocks, 1);
	}
	block = exiting_allocate(300);
	atomic_fetch_add(&exiting_blocks, 1);
	pthread_cleanup_push(free_block, block);
	pthread_exit(NULL);
	pthread_cleanup_pop(0);
	return unused;
}

/* No function of the allocator is a cancellation point. */
static void *wait_for_cancel(void *unused)
{
	void *block = NULL;

	for (;;) {
		block = cancelled_allocate(400);
		atomic_fetch_add(&cancelled_blocks, 1);
		pthread_cleanup_push(free_block, block);
		for (int i = 0; i < 50; i++) {
			free(cancelled_allocate(40));
			atomic_fetch_add(&cancelled_blocks, 1);
		}
		pthread_testcancel();
		pthread_cleanup_pop(1);
	}
	return unused;
}

static int run_threads(void)
{
	int exited = 0, cancelled = 0;
	pthread_t thread;
	void *result;

	for (int i = 0; i < ENDING_THREADS; i++) {
		if (pthread_create(&thread, NULL, exit_in_the_midst, NULL) != 0 ||
		    pthread_join(thread, &result) != 0)
			return 5;
		exited += result == NULL;
		if (pthread_create(&thread, NULL, wait_for_cancel, NULL) != 0)
			return 5;
		usleep((unsigned)i * 100);
		pthread_cancel(thread);
		if (pthread_join(thread, &result) != 0)
			return 5;
		cancelled += result == PTHREAD_CANCELED;
	}
	fprintf(stderr, "exited %d, cancelled %d\n", exited, cancelled);
	tell("exiting_allocate", exiting_blocks);
	tell("cancelled_allocate", cancelled_blocks);
	return 0;
}

/* --- small --- */

#define SMALL_BLOCKS 300

static NOINLINE void allocate_near_the_end(size_t taken_bytes)
{
	volatile char *taken = alloca(taken_bytes);

	taken[0] = 1;
	taken[taken_bytes - 1] = 2;
	for (int i = 0; i < SMALL_BLOCKS; i++)
		free(realloc(small_allocate(24), 100));
	if (taken[0] != 1 || taken[taken_bytes - 1] != 2)
		_exit(6);
}

static void *use_small_stack(void *left_bytes)
{
	pthread_attr_t attributes;
	char *low;
	size_t bytes;

	pthread_getattr_np(pthread_self(), &attributes);
	pthread_attr_getstack(&attributes, (void **)&low, &bytes);
	pthread_attr_destroy(&attributes);
	allocate_near_the_end((size_t)((char *)__builtin_frame_address(0) - low) -
			      (size_t)(uintptr_t)left_bytes);
	return NULL;
}

/* The loader's own binding takes 3 KB: only what is bound already is called there. */
static int run_small(void)
{
	static const uintptr_t left_bytes[] = {8192, 6144, 4096};
	pthread_attr_t attributes;
	pthread_t thread;

	free(realloc(small_allocate(24), 100));
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN);
	for (size_t i = 0; i < sizeof(left_bytes) / sizeof(left_bytes[0]); i++)
		if (pthread_create(&thread, &attributes, use_small_stack,
				   (void *)left_bytes[i]) != 0 ||
		    pthread_join(thread, NULL) != 0)
			return 5;
	tell("small_allocate", 1 + 3 * SMALL_BLOCKS);
	return 0;
}

/* --- coroutines --- */

#define COROUTINES 4
#define COROUTINE_STACK_BYTES 16384
#define COROUTINE_ROUNDS 100
static ucontext_t scheduler, coroutines[COROUTINES];
static void *passed_on;

static void run_coroutine(int number)
{
	for (int i = 0; i < COROUTINE_ROUNDS; i++) {
		void *own = coroutine_allocate(64);

		free(passed_on);
		passed_on = coroutine_allocate(32);
		swapcontext(&coroutines[number], &scheduler);
		free(own);
	}
}

static void *run_a_share(void *rounds)
{
	for (intptr_t i = 0; i < (intptr_t)rounds; i++)
		for (int j = 0; j < COROUTINES; j++)
			swapcontext(&scheduler, &coroutines[j]);
	return NULL;
}

static int run_coroutines(void)
{
	pthread_t thread;

	for (int i = 0; i < COROUTINES; i++) {
		getcontext(&coroutines[i]);
		coroutines[i].uc_stack.ss_sp =
			mmap(NULL, COROUTINE_STACK_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
		coroutines[i].uc_stack.ss_size = COROUTINE_STACK_BYTES;
		coroutines[i].uc_link = &scheduler;
		makecontext(&coroutines[i], (void (*)(void))run_coroutine, 1, i);
	}
	run_a_share((void *)(COROUTINE_ROUNDS / 2));
	/* The rest on another thread, until all have come to their end. */
	if (pthread_create(&thread, NULL, run_a_share,
			   (void *)(COROUTINE_ROUNDS - COROUTINE_ROUNDS / 2 + 1)) != 0 ||
	    pthread_join(thread, NULL) != 0)
		return 5;
	free(passed_on);
	tell("coroutine_allocate", 2 * COROUTINES * COROUTINE_ROUNDS);
	return 0;
}

/* --- signals --- */

#define INTERRUPTED_MS 400
static volatile sig_atomic_t interruptions, wrong_reads;
static const char *volatile readable;

/* Only looks: the allocator may be in the midst of anything. */
static void look(int number)
{
	(void)number;
	interruptions++;
	for (int i = 0; i < 64; i++)
		wrong_reads += readable[i] != 'r';
}

static int run_signals(void)
{
	struct sigaction action = {.sa_handler = look, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
	int64_t end_ns = clock_ns(CLOCK_MONOTONIC) + INTERRUPTED_MS * NS_PER_MS;
	char *block = main_allocate(64);
	long long blocks = 1;

	memset(block, 'r', 64);
	readable = block;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	while (clock_ns(CLOCK_MONOTONIC) < end_ns)
		for (int i = 0; i < 100; i++, blocks++) {
			errno = 77;
			free(main_allocate(100));
			wrong_reads += errno != 77;
		}
	setitimer(ITIMER_REAL, &never, NULL);
	tell("main_allocate", blocks);
	tell("wrong_reads", wrong_reads);
	fprintf(stderr, "interrupted often: %d\n", interruptions > 100);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "ends";

	if (strcmp(mode, "ends") == 0)
		return run_ends();
	if (strcmp(mode, "specific") == 0)
		return run_specific();
	if (strcmp(mode, "threads") == 0)
		return run_threads();
	if (strcmp(mode, "small") == 0)
		return run_small();
	if (strcmp(mode, "coroutines") == 0)
		return run_coroutines();
	if (strcmp(mode, "signals") == 0)
		return run_signals();
	return 2;
}
