/*
 * Walks from every instruction of real code, held against libunwind; damaged unwind
 * data and damaged stacks; generated code; foreign stacks; our own footprint.
 */
#include "sp_compiler.h"
#include "sp_syscall.h"
#include "unwind_cfa.h"
#include "unwind_cfi.h"
#include "unwind_fixture.h"

#include <alloca.h>
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <wchar.h>

#ifdef __SANITIZE_ADDRESS__
static const bool is_sanitized = true;
#else
static const bool is_sanitized = false;
#endif

#define FRAMES_MAX 128
#define TRAP_FLAG 0x100

static struct announced announced;
static struct sp_modules *modules;
static struct sp_unwind_stack stack;

static void setup(void)
{
	announced.count = 0;
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

/* --- a walk in a signal handler, compared with libunwind's ------------------ */

struct comparison {
	uint64_t compared, incomplete, different;
	uint64_t ours[FRAMES_MAX], theirs[FRAMES_MAX]; /* of the first difference */
	uint32_t our_depth, their_depth;
};

static struct comparison comparison;

static void compare(const void *ucontext)
{
	struct sp_unwind_result ours, theirs;
	uint64_t our_frames[FRAMES_MAX], their_frames[FRAMES_MAX];
	struct sp_unwind_regs regs;

	sp_unwind_regs_from_ucontext(&regs, ucontext);
	ours = sp_unwind(snapshot(), &regs, &stack, our_frames, FRAMES_MAX);
	theirs =
		sp_unwind_libunwind(snapshot(), ucontext, true, their_frames, FRAMES_MAX);
	comparison.compared++;
	comparison.incomplete += ours.end != SP_UNWIND_OUTERMOST;
	if (ours.depth_frames == theirs.depth_frames &&
	    memcmp(our_frames, their_frames, ours.depth_frames * sizeof(uint64_t)) == 0)
		return;
	if (comparison.different++ > 0)
		return;
	comparison.our_depth = ours.depth_frames;
	comparison.their_depth = theirs.depth_frames;
	memcpy(comparison.ours, our_frames, sizeof(our_frames));
	memcpy(comparison.theirs, their_frames, sizeof(their_frames));
}

/* The handler ends the stepping: code that does it would have to move the stack
 * pointer behind the compiler's back. */
static volatile bool is_stepping;

static bool goes_on_stepping(void *ucontext)
{
	if (!is_stepping)
		((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	return is_stepping;
}

static void on_trap(int number, siginfo_t *info, void *ucontext)
{
	(void)number;
	(void)info;
	if (goes_on_stepping(ucontext))
		compare(ucontext);
}

static void catch (int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_sigaction = handler,
				   .sa_flags = SA_SIGINFO | flags};

	ck_assert_int_eq(sigaction(number, &action, NULL), 0);
}

static inline void set_trap_flag(void)
{
	__asm__ volatile("pushfq; orl %0, (%%rsp); popfq"
			 :
			 : "i"(TRAP_FLAG)
			 : "memory", "cc");
}

/* Runs a function and compares the walks at each of its instructions. */
static void step_through(void (*function)(void), uint64_t at_least)
{
	memset(&comparison, 0, sizeof(comparison));
	catch (SIGTRAP, on_trap, 0);
	is_stepping = true;
	set_trap_flag();
	function();
	is_stepping = false;
	for (uint32_t i = 0; comparison.different && i < 16 &&
			     (i < comparison.our_depth || i < comparison.their_depth);
	     i++)
		fprintf(stderr, "%2u ours %016llx theirs %016llx\n", i,
			i < comparison.our_depth ? (unsigned long long)comparison.ours[i]
						 : 0,
			i < comparison.their_depth
				? (unsigned long long)comparison.theirs[i]
				: 0);
	ck_assert_uint_ge(comparison.compared, at_least);
	ck_assert_uint_eq(comparison.different, 0);
	ck_assert_uint_eq(comparison.incomplete, 0);
}

/* --- code worth walking ------------------------------------------------------ */

static volatile long sink;

static SP_NOINLINE long leaf(long n)
{
	return (n * 3 + sink) & 0xffff;
}

static SP_NOINLINE long recurse(long n)
{
	long below = n > 0 ? recurse(n - 1) : leaf(n);

	return below + n + leaf(below);
}

static void deep(void)
{
	sink = recurse(60);
}

static SP_NOINLINE void use(void *memory, size_t size_bytes)
{
	__asm__ volatile("" : : "r"(memory), "r"(size_bytes) : "memory");
	sink += (long)size_bytes;
}

static SP_NOINLINE void with_alloca(size_t size_bytes)
{
	char *memory = alloca(size_bytes);

	memory[0] = 1;
	use(memory, size_bytes);
	sink += leaf(memory[0]);
}

static SP_NOINLINE void with_aligned_locals(size_t size_bytes)
{
	char aligned[256] __attribute__((aligned(64)));
	char *memory = alloca(size_bytes);

	use(aligned, sizeof(aligned));
	use(memory, size_bytes);
	with_alloca(size_bytes);
	use(aligned, sizeof(aligned));
}

__attribute__((force_align_arg_pointer)) static SP_NOINLINE void
realigned(size_t size_bytes)
{
	use(&size_bytes, size_bytes);
	with_alloca(size_bytes);
}

static SP_NOINLINE void with_large_frame(void)
{
	char large[100000];

	use(large, sizeof(large));
}

static SP_NOINLINE long with_many_arguments(long a, long b, long c, long d, long e,
					    long f, long g, long h, long i, long j)
{
	return leaf(a) + leaf(b) + leaf(c) + leaf(d) + leaf(e) + leaf(f) + leaf(g) +
	       leaf(h) + leaf(i) + leaf(j);
}

static void odd_frames(void)
{
	with_alloca(100);
	with_aligned_locals(200);
	realigned(300);
	with_large_frame();
	sink = with_many_arguments(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void through_libc(void)
{
	int values[] = {9, 3, 7, 1, 8, 2, 6, 5, 4, 0, 12, 11, 10};
	char text[200];
	double number;

	qsort(values, SP_ARRAY_COUNT(values), sizeof(values[0]), by_value);
	snprintf(text, sizeof(text), "%d %s %f", values[3], "text", 3.25);
	number = strtod(text, NULL);
	sink = (long)number + (long)strlen(text);
	free(malloc(1000));
	memset(text, 1, sizeof(text));
}

static atomic_int signals_handled;

static void on_user_signal(int number, siginfo_t *info, void *ucontext)
{
	(void)number;
	(void)info;
	(void)ucontext;
	/* The kernel takes the flag away for the handler. */
	set_trap_flag();
	sink += recurse(3);
	atomic_fetch_add(&signals_handled, 1);
}

static void through_a_signal_frame(void)
{
	catch (SIGUSR1, on_user_signal, 0);
	raise(SIGUSR1);
	leaf(1);
}

static void first_calls(void)
{
	/* Not called before: bound by the loader's stub now. */
	sink += strverscmp(sink ? "a1" : "a2", "a3");
	sink += (long)getpgrp() + wctob((wint_t)sink);
}

static void through_vfork(void)
{
	/* Its return address is in a register while the child runs. */
	pid_t child = vfork();

	if (child == 0)
		_exit(0);
	sink = child;
}

static void on_alternate_stack(int number, siginfo_t *info, void *ucontext)
{
	on_user_signal(number, info, ucontext);
}

static void through_an_alternate_stack(void)
{
	static char memory[65536];
	stack_t alternate = {.ss_sp = memory, .ss_size = sizeof(memory)};

	sigaltstack(&alternate, NULL);
	catch (SIGUSR1, on_alternate_stack, SA_ONSTACK);
	raise(SIGUSR1);
	leaf(1);
}

START_TEST(deep_recursion_is_walked_at_every_instruction)
{
	step_through(deep, 300);
}
END_TEST

START_TEST(odd_frames_are_walked_at_every_instruction)
{
	step_through(odd_frames, 200);
}
END_TEST

START_TEST(callbacks_through_libc_are_walked_at_every_instruction)
{
	step_through(through_libc, 1000);
}
END_TEST

START_TEST(signal_frames_are_walked_at_every_instruction)
{
	step_through(through_a_signal_frame, 100);
	ck_assert_int_eq(atomic_exchange(&signals_handled, 0), 1);
}
END_TEST

START_TEST(vfork_is_walked_at_every_instruction)
{
	step_through(through_vfork, 10);
	ck_assert_int_eq(waitpid((pid_t)sink, NULL, 0), (pid_t)sink);
}
END_TEST

START_TEST(handlers_on_an_alternate_stack_are_walked_at_every_instruction)
{
	/* Nobody told us where that stack is. */
	stack.is_guarded = true;
	step_through(through_an_alternate_stack, 100);
	stack.is_guarded = false;
	ck_assert_int_eq(atomic_exchange(&signals_handled, 0), 1);
}
END_TEST

START_TEST(lazy_binding_is_walked_at_every_instruction)
{
	step_through(first_calls, 50);
}
END_TEST

/* --- walks taken where we stand ---------------------------------------------- */

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
	catch (SIGUSR2, on_capture, 0);
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

START_TEST(complete_walk_ends_outermost)
{
	struct capture capture = {.max_frames = 0};

	capture_at_depth(10, &capture);
	ck_assert_int_eq(capture.result.end, SP_UNWIND_OUTERMOST);
	ck_assert_uint_gt(capture.result.depth_frames, 12);
}
END_TEST

START_TEST(walk_stops_at_the_limit)
{
	struct capture capture = {.max_frames = 5};
	struct capture whole = {.max_frames = 0};

	capture.frames[5] = 77;
	capture_at_depth(10, &capture);
	ck_assert_int_eq(capture.result.end, SP_UNWIND_FULL);
	ck_assert_uint_eq(capture.result.depth_frames, 5);
	ck_assert_uint_eq(capture.frames[5], 77);
	/* Exactly as many as there are is not too many. */
	capture_at_depth(10, &whole);
	capture.max_frames = whole.result.depth_frames;
	capture_at_depth(10, &capture);
	ck_assert_int_eq(capture.result.end, SP_UNWIND_OUTERMOST);
	capture.max_frames = whole.result.depth_frames - 1;
	capture_at_depth(10, &capture);
	ck_assert_int_eq(capture.result.end, SP_UNWIND_FULL);
}
END_TEST

START_TEST(errno_is_kept)
{
	struct capture capture = {.max_frames = 0};

	errno = 4711;
	capture_at_depth(3, &capture);
	ck_assert_int_eq(errno, 4711);
}
END_TEST

START_TEST(without_a_snapshot_the_leaf_is_returned)
{
	struct capture capture = {.max_frames = 0};
	struct sp_unwind_result result;

	capture_at_depth(3, &capture);
	result = sp_unwind(NULL, &capture.regs, &stack, capture.frames, FRAMES_MAX);
	ck_assert_int_eq(result.end, SP_UNWIND_NO_MODULE);
	ck_assert_uint_eq(result.depth_frames, 1);
	ck_assert_uint_eq(capture.frames[0],
			  sp_frame_make(SP_MODULE_NONE, capture.regs.value[SP_DWARF_RA]));
}
END_TEST

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

START_TEST(frames_of_the_agent_are_left_out)
{
	struct capture with = {.max_frames = 0}, without = {.max_frames = 0};
	struct sp_unwind_snapshot *copy = copy_snapshot();
	uint16_t self = module_in(copy, (void *)(uintptr_t)&setup)->id;
	uint32_t others = 0;

	module_in(copy, (void *)(uintptr_t)&setup)->is_agent = true;
	without.from = copy;
	capture_at_depth(10, &with);
	capture_at_depth(10, &without);
	for (uint32_t i = 0; i < with.result.depth_frames; i++)
		others += sp_frame_module(with.frames[i]) != self;
	ck_assert_int_eq(without.result.end, SP_UNWIND_OUTERMOST);
	ck_assert_uint_eq(without.result.depth_frames, others);
	for (uint32_t i = 0; i < without.result.depth_frames; i++)
		ck_assert_uint_ne(sp_frame_module(without.frames[i]), self);
	free(copy);
}
END_TEST

START_TEST(full_id_table_gives_plain_addresses)
{
	struct capture with = {.max_frames = 0}, without = {.max_frames = 0};
	struct sp_unwind_snapshot *copy = copy_snapshot();
	const struct sp_unwind_module *self;

	module_in(copy, (void *)(uintptr_t)&setup)->id = 0;
	without.from = copy;
	capture_at_depth(10, &with);
	capture_at_depth(10, &without);
	ck_assert_uint_eq(with.result.depth_frames, without.result.depth_frames);
	self = module_in(copy, (void *)(uintptr_t)&setup);
	for (uint32_t i = 3; i < 10; i++) {
		ck_assert_uint_eq(sp_frame_module(without.frames[i]), 0);
		ck_assert_uint_eq(sp_frame_offset(without.frames[i]) - self->base,
				  sp_frame_offset(with.frames[i]));
	}
	free(copy);
}
END_TEST

static struct sp_unwind_result short_walk, empty_walk;

static void on_short(int number, siginfo_t *info, void *ucontext)
{
	struct sp_unwind_stack bounds = stack;
	uint64_t frames[FRAMES_MAX];
	struct sp_unwind_regs regs;

	(void)number;
	(void)info;
	sp_unwind_regs_from_ucontext(&regs, ucontext);
	bounds.high = regs.value[SP_DWARF_RSP] + 1200;
	short_walk = sp_unwind(snapshot(), &regs, &bounds, frames, FRAMES_MAX);
	bounds.high = bounds.low;
	empty_walk = sp_unwind(snapshot(), &regs, &bounds, frames, FRAMES_MAX);
}

static SP_NOINLINE long raise_at_depth(long n)
{
	long below = n > 0 ? raise_at_depth(n - 1) : raise(SIGUSR2);

	return below + leaf(n);
}

START_TEST(stack_outside_the_bounds_is_not_read)
{
	catch (SIGUSR2, on_short, 0);
	raise_at_depth(60);
	ck_assert_int_eq(short_walk.end, SP_UNWIND_BAD_STACK);
	ck_assert_uint_gt(short_walk.depth_frames, 1);
	ck_assert_int_eq(empty_walk.end, SP_UNWIND_BAD_STACK);
	ck_assert_uint_eq(empty_walk.depth_frames, 1);
}
END_TEST

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

START_TEST(copy_of_a_stack_gives_the_same_frames)
{
	catch (SIGUSR2, on_copy, 0);
	raise(SIGUSR2);
	ck_assert_int_eq(walked_copy.result.end, SP_UNWIND_OUTERMOST);
	ck_assert_uint_eq(walked_copy.result.depth_frames,
			  walked_live.result.depth_frames);
	ck_assert_mem_eq(walked_copy.frames, walked_live.frames,
			 walked_live.result.depth_frames * sizeof(uint64_t));
}
END_TEST

/* --- stacks that nobody told us about ----------------------------------------- */

static ucontext_t main_context, other_context;
static struct capture coroutine_capture;

static void coroutine(void)
{
	capture_at_depth(5, &coroutine_capture);
}

static void run_coroutine(void *memory, size_t size_bytes)
{
	ck_assert_int_eq(getcontext(&other_context), 0);
	other_context.uc_stack.ss_sp = memory;
	other_context.uc_stack.ss_size = size_bytes;
	other_context.uc_link = &main_context;
	makecontext(&other_context, coroutine, 0);
	ck_assert_int_eq(swapcontext(&main_context, &other_context), 0);
}

START_TEST(stack_of_a_coroutine_is_walked_by_guarded_reads)
{
	void *memory = mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	run_coroutine(memory, 1 << 18);
	ck_assert_int_eq(coroutine_capture.result.end, SP_UNWIND_BAD_STACK);
	ck_assert_uint_eq(coroutine_capture.result.depth_frames, 1);
	stack.is_guarded = true;
	run_coroutine(memory, 1 << 18);
	ck_assert_int_eq(coroutine_capture.result.end, SP_UNWIND_OUTERMOST);
	ck_assert_uint_gt(coroutine_capture.result.depth_frames, 7);
	/* Bounds that hold are as good. */
	stack.is_guarded = false;
	stack.low = (uint64_t)(uintptr_t)memory;
	stack.high = stack.low + (1 << 18);
	run_coroutine(memory, 1 << 18);
	ck_assert_int_eq(coroutine_capture.result.end, SP_UNWIND_OUTERMOST);
	stack = own_stack();
}
END_TEST

/* --- generated code ------------------------------------------------------------ */

/* push rbp; mov rbp, rsp; call rdi; nop; pop rbp; ret, 32 bytes apart so that
 * each calls the next: rdi is the last one's callee. */
static const unsigned char jit_code[] = {0x55, 0x48, 0x89, 0xe5, 0xff,
					 0xd7, 0x90, 0x5d, 0xc3};

static void *jit_area;
static uint64_t jit_wrong, jit_steps;

static SP_NOINLINE void jit_callee(void)
{
	sink++;
}

/* Above every instruction of generated code there is the function that called it. */
static void on_jit_trap(int number, siginfo_t *info, void *ucontext)
{
	uint64_t start = (uint64_t)(uintptr_t)jit_area;
	struct sp_unwind_result result;
	uint64_t frames[FRAMES_MAX];
	struct sp_unwind_regs regs;
	uint64_t leaf_address;

	(void)number;
	(void)info;
	if (!goes_on_stepping(ucontext))
		return;
	sp_unwind_regs_from_ucontext(&regs, ucontext);
	leaf_address = regs.value[SP_DWARF_RA];
	result = sp_unwind(snapshot(), &regs, &stack, frames, FRAMES_MAX);
	if (leaf_address < start || leaf_address >= start + 4096)
		return;
	jit_steps++;
	if (result.end != SP_UNWIND_OUTERMOST || result.depth_frames < 4 ||
	    frames[0] != sp_frame_make(SP_MODULE_NONE, leaf_address) ||
	    sp_frame_module(frames[1]) == SP_MODULE_NONE)
		jit_wrong++;
}

static SP_NOINLINE void call_jit(void)
{
	((void (*)(void (*)(void)))jit_area)(jit_callee);
	__asm__ volatile("" : : : "memory");
}

static void map_jit(void)
{
	jit_area = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(jit_area, MAP_FAILED);
	memcpy(jit_area, jit_code, sizeof(jit_code));
}

START_TEST(generated_code_is_stepped_over_at_every_instruction)
{
	map_jit();
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	catch (SIGTRAP, on_jit_trap, 0);
	is_stepping = true;
	set_trap_flag();
	call_jit();
	is_stepping = false;
	ck_assert_uint_eq(jit_steps, 6);
	ck_assert_uint_eq(jit_wrong, 0);
}
END_TEST

static struct capture jit_capture;

static void capture_from_jit(void)
{
	capture_here(&jit_capture);
}

START_TEST(generated_code_that_no_scan_saw_is_walked_through)
{
	uint64_t in_jit = 0;

	map_jit();
	((void (*)(void (*)(void)))jit_area)(capture_from_jit);
	ck_assert_int_eq(jit_capture.result.end, SP_UNWIND_OUTERMOST);
	for (uint32_t i = 0; i < jit_capture.result.depth_frames; i++)
		in_jit += sp_frame_module(jit_capture.frames[i]) == SP_MODULE_NONE;
	ck_assert_uint_eq(in_jit, 1);
}
END_TEST

/* --- modules that come and go -------------------------------------------------- */

static const char callback_source[] =
	"int twice(int (*call)(int), int n) { return call(n) + call(n + 1); }\n";
static struct capture callback_capture;

static int callback(int n)
{
	if (n == 1)
		capture_here(&callback_capture);
	return n;
}

START_TEST(module_not_yet_scanned_ends_the_walk)
{
	struct sp_unwind_snapshot *other;
	int (*twice)(int (*)(int), int);
	char library[64];
	void *handle;

	snprintf(library, sizeof(library), "/tmp/sp_test_unwind_%d.so", (int)getpid());
	ck_assert(compile_library(callback_source, "-O1", library));
	handle = dlopen(library, RTLD_NOW);
	unlink(library);
	ck_assert_ptr_nonnull(handle);
	*(void **)&twice = dlsym(handle, "twice");
	twice(callback, 1);
	ck_assert_int_eq(callback_capture.result.end, SP_UNWIND_NO_MODULE);
	ck_assert_uint_gt(callback_capture.result.depth_frames, 1);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	callback_capture.from = snapshot();
	twice(callback, 1);
	ck_assert_int_eq(callback_capture.result.end, SP_UNWIND_OUTERMOST);
	/* A snapshot that knows another module at that place. */
	other = copy_snapshot();
	module_in(other, *(void **)&twice)->link_map = &callback_capture;
	callback_capture.from = other;
	twice(callback, 1);
	ck_assert_int_eq(callback_capture.result.end, SP_UNWIND_NO_MODULE);
	free(other);
}
END_TEST

START_TEST(debug_frame_is_walked_by)
{
	int (*twice)(int (*)(int), int);
	char library[64];
	void *handle;

	snprintf(library, sizeof(library), "/tmp/sp_test_unwind_%d.so", (int)getpid());
	ck_assert(compile_library(
		callback_source,
		"-O2 -g -fno-asynchronous-unwind-tables -fno-unwind-tables "
		"-nostdlib -Wl,--no-eh-frame-hdr",
		library));
	handle = dlopen(library, RTLD_NOW);
	ck_assert_ptr_nonnull(handle);
	*(void **)&twice = dlsym(handle, "twice");
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	unlink(library);
	callback_capture.from = snapshot();
	twice(callback, 1);
	ck_assert_int_eq(callback_capture.result.end, SP_UNWIND_OUTERMOST);
}
END_TEST

/* --- damage ---------------------------------------------------------------------- */

static uint64_t random_state = 88172645463325252ULL;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* A copy that ends where memory ends, so that a byte too far is a crash. */
static unsigned char *guarded_copy(uint64_t address, size_t size_bytes)
{
	size_t room_bytes = SP_ROUND_UP(size_bytes, (size_t)4096);
	unsigned char *pages = mmap(NULL, room_bytes + 8192, PROT_NONE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(pages, MAP_FAILED);
	ck_assert_int_eq(mprotect(pages + 4096, room_bytes, PROT_READ | PROT_WRITE), 0);
	pages += 4096 + room_bytes - size_bytes;
	copy_raw(pages, address, size_bytes);
	return pages;
}

static void mutate(unsigned char *data, size_t size_bytes, const unsigned char *pristine)
{
	uint64_t count = 1 + random_next() % 24;

	memcpy(data, pristine, size_bytes);
	while (count-- > 0) {
		static const unsigned char nasty[] = {0,    0xff, 0x7f, 0x80,
						      0x0a, 0x0b, 0x0f, 0x10};
		size_t at = random_next() % size_bytes;

		data[at] = random_next() % 2 ? nasty[random_next() % sizeof(nasty)]
					     : (unsigned char)random_next();
	}
}

START_TEST(damaged_unwind_data_are_harmless)
{
	struct sp_unwind_snapshot *copy = copy_snapshot();
	struct sp_unwind_module *self = module_in(copy, (void *)(uintptr_t)&setup);
	size_t hdr_bytes = (size_t)self->hdr_bytes, frame_bytes;
	unsigned char *hdr, *frame, *hdr_pristine, *frame_pristine;
	struct capture capture = {.from = copy};
	uint64_t ends[5] = {0};

	/* As much of the segment as the program's few functions may take. */
	frame_bytes = self->eh_frame_bytes < 16384 ? (size_t)self->eh_frame_bytes : 16384;
	hdr = guarded_copy(self->hdr_address, hdr_bytes);
	frame = guarded_copy(self->eh_frame_address, frame_bytes);
	hdr_pristine = guarded_copy(self->hdr_address, hdr_bytes);
	frame_pristine = guarded_copy(self->eh_frame_address, frame_bytes);
	self->hdr_delta = (int64_t)((uint64_t)(uintptr_t)hdr - self->hdr_address);
	self->eh_frame_delta =
		(int64_t)((uint64_t)(uintptr_t)frame - self->eh_frame_address);
	self->eh_frame_bytes = frame_bytes;
	self->id = 40000;
	for (int round = 0; round < 8000; round++) {
		/* Few rounds damage the table: most of them would miss every function. */
		mutate(frame, frame_bytes, frame_pristine);
		if (round % 8 == 0)
			mutate(hdr, hdr_bytes, hdr_pristine);
		else
			memcpy(hdr, hdr_pristine, hdr_bytes);
		sp_unwind_cache_reset();
		capture_at_depth(6, &capture);
		ck_assert_uint_ge(capture.result.depth_frames, 1);
		ck_assert_uint_le(capture.result.end, SP_UNWIND_BAD_STACK);
		ends[capture.result.end]++;
		for (int i = 0; i < 20; i++) {
			uint64_t address =
				self->text_start +
				random_next() % (self->text_end - self->text_start);
			uint64_t next, start, end;

			ck_assert_int_ne(sp_rule_kind(sp_cfi_find_rule(self, address)),
					 SP_RULE_EMPTY);
			sp_cfi_read_entry(self, random_next() % frame_bytes, &next,
					  &start, &end);
		}
	}
	free(copy);
	/* The damage was felt, and not always. */
	ck_assert_uint_gt(ends[SP_UNWIND_OUTERMOST], 100);
	ck_assert_uint_gt(ends[SP_UNWIND_NO_RULE] + ends[SP_UNWIND_BAD_STACK], 100);
}
END_TEST

START_TEST(damaged_stack_is_harmless)
{
	static struct capture capture;
	uint64_t rsp;
	size_t size_bytes;
	unsigned char *copy, *pristine;

	catch (SIGUSR2, on_copy, 0);
	raise(SIGUSR2);
	rsp = walked_live.regs.value[SP_DWARF_RSP] & ~UINT64_C(7);
	size_bytes = 2048 < stack.high - rsp ? 2048 : (size_t)(stack.high - rsp);
	copy = guarded_copy(rsp, size_bytes);
	pristine = guarded_copy(rsp, size_bytes);
	for (int round = 0; round < 20000; round++) {
		struct sp_unwind_stack damaged = {.low = rsp, .high = rsp + size_bytes};
		struct sp_unwind_regs regs = walked_live.regs;

		damaged.delta = (int64_t)((uint64_t)(uintptr_t)copy - rsp);
		mutate(copy, size_bytes, pristine);
		if (round % 4 == 0)
			regs.value[random_next() % SP_UNWIND_REGS] = random_next();
		if (round % 5 == 0)
			regs.value[SP_DWARF_RSP] = rsp + random_next() % size_bytes;
		capture.result = sp_unwind(snapshot(), &regs, &damaged, capture.frames,
					   FRAMES_MAX);
		ck_assert_uint_ge(capture.result.depth_frames, 1);
	}
}
END_TEST

/* --- expressions and footprint --------------------------------------------------- */

enum { UNKNOWN = 255 };

static struct sp_expr_value evaluate(const void *bytes, size_t count_bytes, uint64_t pc)
{
	struct sp_expr_value value = {.kind = UNKNOWN};
	struct sp_cursor cursor = {.at = bytes,
				   .end = (const uint8_t *)bytes + count_bytes};

	sp_expr_evaluate(&cursor, pc, &value);
	return value;
}

START_TEST(formula_of_plt_entries_depends_on_the_pc_only)
{
	/* rsp + 8 + ((pc & 15) >= 11) * 8 */
	static const uint8_t plt[] = {0x77, 8,	  0x80, 0,    0x3f, 0x1a,
				      0x3b, 0x2a, 0x33, 0x24, 0x22};
	struct sp_expr_value value = evaluate(plt, sizeof(plt), 0x1006);

	ck_assert_int_eq(value.kind, SP_EXPR_REG);
	ck_assert_int_eq(value.reg, SP_DWARF_RSP);
	ck_assert_int_eq(value.offset, 8);
	value = evaluate(plt, sizeof(plt), 0x100b);
	ck_assert_int_eq(value.offset, 16);
}
END_TEST

START_TEST(dereferenced_registers_are_understood)
{
	static const uint8_t realigned_cfa[] = {0x76, 0x78, 0x06}; /* [rbp - 8] */
	static const uint8_t saved_rsp[] = {0x77, 0x28, 0x06, 0x23,
					    8}; /* [rsp + 40] + 8 */
	static const uint8_t indexed[] = {0x77, 0, 0x79, 0, 0x38, 0x1e, 0x22, 0x06};
	struct sp_expr_value value = evaluate(realigned_cfa, sizeof(realigned_cfa), 0);

	ck_assert_int_eq(value.kind, SP_EXPR_DEREF);
	ck_assert_int_eq(value.reg, SP_DWARF_RBP);
	ck_assert_int_eq(value.offset, -8);
	value = evaluate(saved_rsp, sizeof(saved_rsp), 0);
	ck_assert_int_eq(value.kind, SP_EXPR_DEREF);
	ck_assert_int_eq(value.offset, 40);
	ck_assert_int_eq(value.added, 8);
	value = evaluate(indexed, sizeof(indexed), 0);
	ck_assert_int_eq(value.kind, SP_EXPR_DEREF_INDEXED);
	ck_assert_int_eq(value.reg, 9);
}
END_TEST

START_TEST(expressions_beyond_us_are_unknown)
{
	static const uint8_t empty_stack[] = {0x22};
	static const uint8_t twice_dereferenced[] = {0x77, 8, 0x06, 0x06};
	static const uint8_t cut[] = {0x77};
	static const uint8_t backwards[] = {0x2f, 0xfd, 0xff};
	static const uint8_t pushes[] = {0x30, 0x12, 0x12, 0x12, 0x12,
					 0x12, 0x12, 0x12, 0x12};

	ck_assert_int_eq(evaluate(empty_stack, sizeof(empty_stack), 0).kind, UNKNOWN);
	ck_assert_int_eq(evaluate(twice_dereferenced, sizeof(twice_dereferenced), 0).kind,
			 UNKNOWN);
	ck_assert_int_eq(evaluate(cut, sizeof(cut), 0).kind, UNKNOWN);
	ck_assert_int_eq(evaluate(backwards, sizeof(backwards), 0).kind, UNKNOWN);
	ck_assert_int_eq(evaluate(pushes, sizeof(pushes), 0).kind, UNKNOWN);
	ck_assert_int_eq(evaluate(NULL, 0, 0).kind, UNKNOWN);
}
END_TEST

START_TEST(packed_offsets_come_back)
{
	static const int64_t offsets[] = {0, 8, -8, 16, -16, 4088, -32768, 32760};

	for (size_t i = 0; i < SP_ARRAY_COUNT(offsets); i++) {
		int64_t offset = offsets[i];
		uint64_t rule = sp_rule_field(offset, SP_RULE_SAVE_BITS,
					      SP_RULE_RBP_OFFSET_SHIFT) |
				sp_rule_field(-offset - 8, SP_RULE_SAVE_BITS,
					      SP_RULE_RBX_OFFSET_SHIFT) |
				sp_rule_field(offset * 512, SP_RULE_CFA_BITS,
					      SP_RULE_CFA_OFFSET_SHIFT);

		ck_assert(sp_rule_fits(offset, SP_RULE_SAVE_BITS));
		ck_assert(sp_rule_fits(offset * 512, SP_RULE_CFA_BITS));
		ck_assert_int_eq(sp_rule_rbp_offset_bytes(rule), offset);
		ck_assert_int_eq(sp_rule_rbx_offset_bytes(rule), -offset - 8);
		ck_assert_int_eq(sp_rule_cfa_offset_bytes(rule), offset * 512);
	}
	ck_assert(!sp_rule_fits(32768, SP_RULE_SAVE_BITS));
	ck_assert(!sp_rule_fits(4, SP_RULE_SAVE_BITS));
}
END_TEST

static struct capture footprint_capture;

/* From where it stood, and from everywhere in the C library: PLT entries, realigned
 * frames and trampolines take the most. */
static void walk_on_painted_stack(void)
{
	const struct sp_unwind_module *libc;
	struct sp_unwind_regs regs = footprint_capture.regs;

	sp_unwind_cache_reset();
	footprint_capture.result = sp_unwind(snapshot(), &footprint_capture.regs, &stack,
					     footprint_capture.frames, FRAMES_MAX);
	libc = sp_unwind_find_module(snapshot(), (uint64_t)(uintptr_t)&raise);
	for (uint64_t at = 0; libc && at < libc->text_end - libc->text_start;
	     at += at < 4096 ? 5 : 61) {
		uint64_t frames[2];

		regs.value[SP_DWARF_RA] = libc->text_start + at;
		sp_unwind(snapshot(), &regs, &stack, frames, 2);
	}
}

static size_t painted_bytes_used(void (*function)(void))
{
	static unsigned char painted[65536] __attribute__((aligned(64)));
	size_t untouched = 0;

	memset(painted, 0xa5, sizeof(painted));
	ck_assert_int_eq(getcontext(&other_context), 0);
	other_context.uc_stack.ss_sp = painted;
	other_context.uc_stack.ss_size = sizeof(painted);
	other_context.uc_link = &main_context;
	makecontext(&other_context, function, 0);
	ck_assert_int_eq(swapcontext(&main_context, &other_context), 0);
	while (untouched < sizeof(painted) && painted[untouched] == 0xa5)
		untouched++;
	return sizeof(painted) - untouched;
}

/* What the function above has on the stack itself. */
static void nothing_much(void)
{
	struct sp_unwind_regs regs = footprint_capture.regs;

	use(&regs, sizeof(regs));
	sp_unwind_cache_reset();
}

static void on_footprint(int number, siginfo_t *info, void *ucontext)
{
	(void)number;
	(void)info;
	sp_unwind_regs_from_ucontext(&footprint_capture.regs, ucontext);
	footprint_capture.regs.value[SP_DWARF_RBX] += 0;
	walk_on_painted_stack();
	ck_assert_int_eq(footprint_capture.result.end, SP_UNWIND_OUTERMOST);
	/* What switching contexts takes is not ours. */
	ck_assert_uint_lt(painted_bytes_used(walk_on_painted_stack),
			  painted_bytes_used(nothing_much) + 1024);
}

START_TEST(walk_takes_less_than_a_kilobyte_of_stack)
{
	catch (SIGUSR2, on_footprint, 0);
	raise(SIGUSR2);
}
END_TEST

static void *walk_in_thread(void *wrong)
{
	struct sp_unwind_stack mine = own_stack();
	struct sp_unwind_result result;
	uint64_t frames[FRAMES_MAX];
	struct sp_unwind_regs regs;
	ucontext_t context;

	getcontext(&context);
	sp_unwind_regs_from_ucontext(&regs, &context);
	for (int i = 0; i < 20000; i++) {
		result = sp_unwind(snapshot(), &regs, &mine, frames, FRAMES_MAX);
		if (result.end != SP_UNWIND_OUTERMOST || result.depth_frames != 3)
			atomic_fetch_add((atomic_int *)wrong, 1);
		if (i % 64 == 0)
			sp_unwind_cache_reset();
	}
	return NULL;
}

START_TEST(threads_share_the_cache_without_harm)
{
	atomic_int wrong = 0;
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, walk_in_thread, &wrong), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(atomic_load(&wrong), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unwind");
	TCase *tc = tcase_create("walks");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, deep_recursion_is_walked_at_every_instruction);
	tcase_add_test(tc, odd_frames_are_walked_at_every_instruction);
	tcase_add_test(tc, callbacks_through_libc_are_walked_at_every_instruction);
	tcase_add_test(tc, signal_frames_are_walked_at_every_instruction);
	/* Its own vfork() says nothing about its frame, and its frames are larger. */
	if (!is_sanitized)
		tcase_add_test(tc, vfork_is_walked_at_every_instruction);
	tcase_add_test(tc,
		       handlers_on_an_alternate_stack_are_walked_at_every_instruction);
	tcase_add_test(tc, lazy_binding_is_walked_at_every_instruction);
	tcase_add_test(tc, complete_walk_ends_outermost);
	tcase_add_test(tc, walk_stops_at_the_limit);
	tcase_add_test(tc, errno_is_kept);
	tcase_add_test(tc, without_a_snapshot_the_leaf_is_returned);
	tcase_add_test(tc, frames_of_the_agent_are_left_out);
	tcase_add_test(tc, full_id_table_gives_plain_addresses);
	tcase_add_test(tc, stack_outside_the_bounds_is_not_read);
	tcase_add_test(tc, copy_of_a_stack_gives_the_same_frames);
	tcase_add_test(tc, stack_of_a_coroutine_is_walked_by_guarded_reads);
	tcase_add_test(tc, generated_code_is_stepped_over_at_every_instruction);
	tcase_add_test(tc, generated_code_that_no_scan_saw_is_walked_through);
	tcase_add_test(tc, module_not_yet_scanned_ends_the_walk);
	tcase_add_test(tc, debug_frame_is_walked_by);
	tcase_add_test(tc, damaged_unwind_data_are_harmless);
	tcase_add_test(tc, damaged_stack_is_harmless);
	tcase_add_test(tc, formula_of_plt_entries_depends_on_the_pc_only);
	tcase_add_test(tc, dereferenced_registers_are_understood);
	tcase_add_test(tc, expressions_beyond_us_are_unknown);
	tcase_add_test(tc, packed_offsets_come_back);
	if (!is_sanitized)
		tcase_add_test(tc, walk_takes_less_than_a_kilobyte_of_stack);
	tcase_add_test(tc, threads_share_the_cache_without_harm);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
