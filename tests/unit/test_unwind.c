/*
 * Walks of stacks of all kinds: whole and cut, live and copied, of foreign stacks,
 * through generated code and modules that come and go; and our own footprint.
 */
#include "unwind_capture.h"

#include <dlfcn.h>
#include <errno.h>

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
	handle_signal(SIGUSR2, on_short, 0);
	raise_at_depth(60);
	ck_assert_int_eq(short_walk.end, SP_UNWIND_BAD_STACK);
	ck_assert_uint_gt(short_walk.depth_frames, 1);
	ck_assert_int_eq(empty_walk.end, SP_UNWIND_BAD_STACK);
	ck_assert_uint_eq(empty_walk.depth_frames, 1);
}
END_TEST

START_TEST(copy_of_a_stack_gives_the_same_frames)
{
	handle_signal(SIGUSR2, on_copy, 0);
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

static const char *const without_tables[] = {
	"-O2 -g -fno-asynchronous-unwind-tables -fno-unwind-tables "
	"-nostdlib -Wl,--no-eh-frame-hdr",
	/* As programs are linked: start-up files have entries. */
	"-O2 -g -fno-asynchronous-unwind-tables -fno-unwind-tables",
};

START_TEST(debug_frame_is_walked_by)
{
	int (*twice)(int (*)(int), int);
	char library[64];
	void *handle;

	snprintf(library, sizeof(library), "/tmp/sp_test_unwind_%d.so", (int)getpid());
	ck_assert(compile_library(callback_source, without_tables[_i], library));
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

/* --- footprint -------------------------------------------------------------------- */

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
	walk_on_painted_stack();
	ck_assert_int_eq(footprint_capture.result.end, SP_UNWIND_OUTERMOST);
	/* What switching contexts takes is not ours. */
	ck_assert_uint_lt(painted_bytes_used(walk_on_painted_stack),
			  painted_bytes_used(nothing_much) + 1024);
}

START_TEST(walk_takes_less_than_a_kilobyte_of_stack)
{
	handle_signal(SIGUSR2, on_footprint, 0);
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
	TCase *tc = tcase_create("walks");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, complete_walk_ends_outermost);
	tcase_add_test(tc, walk_stops_at_the_limit);
	tcase_add_test(tc, errno_is_kept);
	tcase_add_test(tc, without_a_snapshot_the_leaf_is_returned);
	tcase_add_test(tc, frames_of_the_agent_are_left_out);
	tcase_add_test(tc, full_id_table_gives_plain_addresses);
	tcase_add_test(tc, stack_outside_the_bounds_is_not_read);
	tcase_add_test(tc, copy_of_a_stack_gives_the_same_frames);
	tcase_add_test(tc, stack_of_a_coroutine_is_walked_by_guarded_reads);
	tcase_add_test(tc, generated_code_that_no_scan_saw_is_walked_through);
	tcase_add_test(tc, module_not_yet_scanned_ends_the_walk);
	tcase_add_loop_test(tc, debug_frame_is_walked_by, 0,
			    sizeof(without_tables) / sizeof(without_tables[0]));
	if (!IS_SANITIZED) /* whose frames are larger */
		tcase_add_test(tc, walk_takes_less_than_a_kilobyte_of_stack);
	tcase_add_test(tc, threads_share_the_cache_without_harm);
	return run_suite("unwind", tc);
}
