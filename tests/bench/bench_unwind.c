/*
 * What capturing a stack costs in a signal handler, by depth: our walk and that of
 * libunwind. "warm" repeats one walk; "cold caches" evicts the processor's caches
 * before each, as after a tick of other work; "new code" is code never sampled before,
 * whose rules are not in our cache either. Then what it costs in a hook, with a memo:
 * the same stack again, and two that differ in their leaf and in where that was called,
 * in turn. Prints medians and judges nothing.
 *
 *   bench_unwind
 */
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_unwind_memo.h"
#include "unwind_fixture.h"

#include <alloca.h>
#include <signal.h>

#define FRAMES_MAX 256
#define ROUNDS 201
#define WARM_WALKS 64
#define EVICT_BYTES ((size_t)64 << 20)

enum state { WARM, COLD_CACHES, NEW_CODE, STATE_COUNT };

static struct announced announced;
static struct sp_unwind_stack stack;
static unsigned char *evict_area;
static volatile unsigned long sink;

static void evict(void)
{
	for (size_t i = 0; i < EVICT_BYTES; i += 64)
		evict_area[i]++;
}

/* A snapshot whose modules have ids that no walk has seen. */
static const struct sp_unwind_snapshot *renew(const struct sp_unwind_snapshot *from)
{
	static struct sp_unwind_snapshot *copy;
	static uint16_t id = 1000;
	size_t size_bytes = sizeof(*from) + from->count * sizeof(from->modules[0]);

	if (!copy)
		copy = malloc(size_bytes);
	if (!copy)
		exit(EXIT_FAILURE);
	memcpy(copy, from, size_bytes);
	for (uint32_t i = 0; i < copy->count; i++)
		copy->modules[i].id = id++;
	return copy;
}

static const struct sp_unwind_snapshot *walked;

static uint32_t walk_ours(const void *ucontext, uint64_t *frames)
{
	struct sp_unwind_regs regs;

	sp_unwind_regs_from_ucontext(&regs, ucontext);
	return sp_unwind(walked, &regs, &stack, frames, FRAMES_MAX).depth_frames;
}

static uint32_t walk_theirs(const void *ucontext, uint64_t *frames)
{
	return sp_unwind_libunwind(walked, ucontext, true, frames, FRAMES_MAX)
		.depth_frames;
}

static int by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

/* The median time of one walk in ns. */
static uint64_t measure(uint32_t (*walk)(const void *, uint64_t *), const void *ucontext,
			enum state state)
{
	static uint64_t times[ROUNDS];
	uint32_t rounds = state == WARM ? ROUNDS : 41;
	uint32_t walks = state == WARM ? WARM_WALKS : 1;
	uint64_t frames[FRAMES_MAX];

	walked = snapshot();
	walk(ucontext, frames);
	for (uint32_t round = 0; round < rounds; round++) {
		uint64_t start;

		walked = state == NEW_CODE ? renew(snapshot()) : snapshot();
		if (state != WARM)
			evict();
		start = sp_clock_monotonic_ns();
		for (uint32_t i = 0; i < walks; i++)
			walk(ucontext, frames);
		times[round] = (sp_clock_monotonic_ns() - start) / walks;
	}
	qsort(times, rounds, sizeof(times[0]), by_value);
	return times[rounds / 2];
}

static void on_signal(int number, siginfo_t *info, void *ucontext)
{
	uint64_t frames[FRAMES_MAX];
	uint32_t depth;

	(void)number;
	(void)info;
	walked = snapshot();
	depth = walk_ours(ucontext, frames);
	printf("%6u | %8lu %12lu %9lu | %8lu %12lu", depth,
	       measure(walk_ours, ucontext, WARM),
	       measure(walk_ours, ucontext, COLD_CACHES),
	       measure(walk_ours, ucontext, NEW_CODE),
	       measure(walk_theirs, ucontext, WARM),
	       measure(walk_theirs, ucontext, COLD_CACHES));
}

static struct sp_unwind_memo *memo;

/* Two leaves of different code. */
#define LEAF(n)                                                                          \
	static SP_NOINLINE void leaf_##n(unsigned int walks)                             \
	{                                                                                \
		for (unsigned int i = 0; i < walks; i++) {                               \
			struct sp_unwind_regs regs;                                      \
                                                                                         \
			sp_unwind_regs_here(&regs);                                      \
			sink += (n) +                                                    \
				sp_unwind_memo_walk(memo, walked, &regs, &stack).hash;   \
		}                                                                        \
	}

LEAF(1)
LEAF(2)

static SP_NOINLINE void walk_again(unsigned int walks)
{
	leaf_1(walks);
}

static SP_NOINLINE void walk_in_turn(unsigned int walks)
{
	for (unsigned int i = 0; i < walks; i += 2) {
		leaf_1(1);
		leaf_2(1);
	}
}

static uint64_t measure_memo(void (*walk)(unsigned int walks))
{
	static uint64_t times[ROUNDS];

	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint64_t start = sp_clock_monotonic_ns();

		walk(WARM_WALKS);
		times[round] = (sp_clock_monotonic_ns() - start) / WARM_WALKS;
	}
	qsort(times, ROUNDS, sizeof(times[0]), by_value);
	return times[ROUNDS / 2];
}

/* At the leaf end of the stack. */
static SP_NOINLINE unsigned long measure_here(void)
{
	raise(SIGUSR1);
	walked = snapshot();
	printf(" | %8lu %9lu\n", measure_memo(walk_again), measure_memo(walk_in_turn));
	return sink;
}

/* Ten functions of different frames that call one another in turn, so that a deep
 * stack is not one rule over and over. */
static SP_NOINLINE unsigned long descend(unsigned int left);

#define LEVEL(n)                                                                         \
	static SP_NOINLINE unsigned long level_##n(unsigned int left)                    \
	{                                                                                \
		char local[16 + (n)*24];                                                 \
		unsigned long below, a = sink + (n), b = sink * (n);                     \
                                                                                         \
		local[left % sizeof(local)] = (char)left;                                \
		__asm__ volatile("" : : "r"(local) : "memory");                          \
		below = descend(left);                                                   \
		return below + a * b + (unsigned long)local[0];                          \
	}

LEVEL(0)
LEVEL(1)
LEVEL(2)
LEVEL(3)
LEVEL(4)
LEVEL(5)
LEVEL(6)
LEVEL(7)
LEVEL(8)
LEVEL(9)

static unsigned long descend(unsigned int left)
{
	static unsigned long (*const levels[])(unsigned int) = {
		level_0, level_1, level_2, level_3, level_4,
		level_5, level_6, level_7, level_8, level_9,
	};

	if (left == 0)
		return measure_here();
	return levels[left % SP_ARRAY_COUNT(levels)](left - 1) + left;
}

int main(void)
{
	static const unsigned int depths[] = {10, 20, 50, 100};
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
	struct sp_modules *modules = sp_modules_create(announce, &announced);

	/* Else each look at the clock, which is measured, too, is a system call. */
	sp_clock_init(clock_gettime);
	sp_unwind_cache_open();
	memo = sp_unwind_memo_create(FRAMES_MAX);
	if (!modules || !memo || sp_unwind_libunwind_open() != 0 ||
	    sp_modules_refresh(modules) != 0)
		return EXIT_FAILURE;
	stack = own_stack();
	evict_area = calloc(1, EVICT_BYTES);
	sigaction(SIGUSR1, &action, NULL);
	printf("ns     |               ours                |       libunwind       |"
	       "       memo\n"
	       "frames |     warm  cold caches  new code |     warm  cold caches |"
	       "    again   in turn\n");
	for (size_t i = 0; i < SP_ARRAY_COUNT(depths); i++) {
		/* What called main and what is below are frames too; a level is two. */
		sink = descend((depths[i] - 6) / 2);
	}
	free(evict_area);
	sp_unwind_memo_destroy(memo);
	sp_modules_destroy(modules);
	return EXIT_SUCCESS;
}
