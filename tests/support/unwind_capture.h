/*
 * Walks of the calling thread's stack, for the tests of the unwinder: one program
 * includes this once.
 */
#ifndef UNWIND_CAPTURE_H
#define UNWIND_CAPTURE_H

#include "run_suite.h"
#include "sp_compiler.h"
#include "unwind_fixture.h"

#include <check.h>
#include <dlfcn.h>
#include <signal.h>

/* gcc says it by a macro, clang by a feature. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

/* No program needs all of this. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define FRAMES_MAX 128

static struct announced announced;
static struct sp_modules *modules;
static struct sp_unwind_stack stack;

static void setup(void)
{
	announced.count = 0;
	sp_unwind_cache_open();
	/* Ids start anew when the tests run in one process. */
	sp_unwind_cache_reset();
	ck_assert_int_eq(sp_unwind_libunwind_open(), 0);
	modules = sp_modules_create(announce, &announced);
	ck_assert_ptr_nonnull(modules);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	stack = own_stack();
	ck_assert_uint_gt(stack.high, stack.low);
}

static void teardown(void)
{
	sp_modules_destroy(modules);
}

static const struct sp_unwind_module *libc_module(void)
{
	return sp_unwind_find_module(snapshot(),
				     (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, "malloc"));
}

static void handle_signal(int number, void (*handler)(int, siginfo_t *, void *),
			  int flags)
{
	struct sigaction action = {.sa_sigaction = handler,
				   .sa_flags = SA_SIGINFO | flags};

	ck_assert_int_eq(sigaction(number, &action, NULL), 0);
}

/* Code to be walked, which the compiler must not do away with. */
static volatile long sink;

static SP_NOINLINE long leaf(long n)
{
	return (n * 3 + sink) & 0xffff;
}

static SP_NOINLINE void use(void *memory, size_t size_bytes)
{
	__asm__ volatile("" : : "r"(memory), "r"(size_bytes) : "memory");
	sink += (long)size_bytes;
}

struct capture {
	struct sp_unwind_regs regs;
	struct sp_unwind_result result;
	uint32_t max_frames;
	const struct sp_unwind_snapshot *from;
	uint64_t frames[FRAMES_MAX];
};

static struct capture *capture_into;

static void on_capture(int number, siginfo_t *info, void *ucontext)
{
	struct capture *capture = capture_into;

	(void)number;
	(void)info;
	sp_unwind_regs_from_ucontext(&capture->regs, ucontext);
	capture->result = sp_unwind(capture->from, &capture->regs, &stack,
				    capture->frames, capture->max_frames);
}

/* Walks from a signal that interrupts raise(). */
static SP_NOINLINE void capture_here(struct capture *capture)
{
	handle_signal(SIGUSR2, on_capture, 0);
	if (!capture->from)
		capture->from = snapshot();
	if (capture->max_frames == 0)
		capture->max_frames = FRAMES_MAX;
	capture_into = capture;
	raise(SIGUSR2);
	__asm__ volatile("" : : : "memory");
}

static SP_NOINLINE long capture_at_depth(long n, struct capture *capture)
{
	long below;

	if (n == 0) {
		capture_here(capture);
		return 0;
	}
	below = capture_at_depth(n - 1, capture);
	return below + leaf(n);
}

static struct sp_unwind_snapshot *copy_snapshot(void)
{
	const struct sp_unwind_snapshot *from = snapshot();
	size_t size_bytes = sizeof(*from) + from->count * sizeof(from->modules[0]);
	struct sp_unwind_snapshot *copy = malloc(size_bytes);

	memcpy(copy, from, size_bytes);
	return copy;
}

static struct sp_unwind_module *module_in(struct sp_unwind_snapshot *of,
					  const void *address)
{
	return of->modules +
	       (sp_unwind_find_module(of, (uint64_t)(uintptr_t)address) - of->modules);
}

/* Copies a stack as it is, which sanitizers would take for a mistake. */
__attribute__((no_sanitize("address"))) static SP_NOINLINE void
copy_raw(void *to, uint64_t from, size_t size_bytes)
{
	volatile unsigned char *out = to;

	for (size_t i = 0; i < size_bytes; i++)
		out[i] = ((const unsigned char *)(uintptr_t)from)[i];
}

static SP_NOINLINE void walk_copy(struct capture *live, struct capture *copied)
{
	uint64_t rsp = live->regs.value[SP_DWARF_RSP] & ~UINT64_C(4095);
	size_t size_bytes = (size_t)(stack.high - rsp);
	void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sp_unwind_stack copy = {.low = rsp, .high = stack.high};

	copy.delta = (int64_t)((uint64_t)(uintptr_t)memory - rsp);
	copy_raw(memory, rsp, size_bytes);
	copied->result =
		sp_unwind(snapshot(), &live->regs, &copy, copied->frames, FRAMES_MAX);
	munmap(memory, size_bytes);
}

static struct capture walked_live, walked_copy;

static void on_copy(int number, siginfo_t *info, void *ucontext)
{
	(void)number;
	(void)info;
	sp_unwind_regs_from_ucontext(&walked_live.regs, ucontext);
	walked_live.result = sp_unwind(snapshot(), &walked_live.regs, &stack,
				       walked_live.frames, FRAMES_MAX);
	walk_copy(&walked_live, &walked_copy);
}

/* push rbp; mov rbp, rsp; call *rdi; nop; pop rbp; ret */
static const unsigned char jit_code[] = {0x55, 0x48, 0x89, 0xe5, 0xff,
					 0xd7, 0x90, 0x5d, 0xc3};

static void *jit_area;

static void map_jit(void)
{
	jit_area = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(jit_area, MAP_FAILED);
	memcpy(jit_area, jit_code, sizeof(jit_code));
}

#endif
