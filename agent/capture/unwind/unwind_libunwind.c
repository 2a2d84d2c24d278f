/*
 * The second implementation of the walk: libunwind's stepping, made to report the
 * same frames. Context: hook; it may allocate, take the loader's lock and make
 * system calls. Nothing of libunwind is linked: the library is opened at run time
 * and without adding its symbols to those of the program.
 */
#include "sp_capture.h"
#include "sp_unwind_memo.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>

#define UNW_LOCAL_ONLY
#include <libunwind.h>

#define LIBRARY "libunwind.so.8"
/* Frames of our own that a walk may pass besides those it reports. */
#define AGENT_FRAMES_MAX 64

struct functions {
	int (*init_local2)(unw_cursor_t *cursor, unw_context_t *context, int flag);
	int (*step)(unw_cursor_t *cursor);
	int (*get_reg)(unw_cursor_t *cursor, int reg, unw_word_t *value);
};

static struct functions functions;
static atomic_bool is_open;

static bool find_function(void *library, const char *name, void *function)
{
	*(void **)function = dlsym(library, name);
	return *(void **)function != NULL;
}

int sp_unwind_libunwind_open(void)
{
	void *library;

	if (atomic_load(&is_open))
		return 0;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return -ENOENT;
	if (!find_function(library, "_ULx86_64_init_local2", &functions.init_local2) ||
	    !find_function(library, "_ULx86_64_step", &functions.step) ||
	    !find_function(library, "_ULx86_64_get_reg", &functions.get_reg)) {
		dlclose(library);
		return -ENOENT;
	}
	/* Pairs with the load in sp_unwind_libunwind(): the functions are set. */
	atomic_store(&is_open, true);
	return 0;
}

/* mov $__NR_rt_sigreturn, %rax; syscall: what the C library makes handlers return
 * to. libunwind's own test asks about the frame before. ip is at either. */
static bool is_signal_trampoline(const struct sp_unwind_module *module, uint64_t ip)
{
	static const uint8_t code[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
	const uint64_t starts[] = {ip, ip - 7};

	if (!module || !module->is_text_readable)
		return false;
	for (unsigned int i = 0; i < 2; i++) {
		if (starts[i] >= module->text_start &&
		    starts[i] + sizeof(code) <= module->text_end &&
		    memcmp((const void *)(uintptr_t)starts[i], code, sizeof(code)) == 0)
			return true;
	}
	return false;
}

static uint64_t encode(const struct sp_unwind_module *module, uint64_t address)
{
	if (!module || module->id == SP_MODULE_NONE)
		return sp_frame_make(SP_MODULE_NONE, address);
	return sp_frame_make(module->id, address - module->base);
}

/* From a prepared cursor on. */
static struct sp_unwind_result walk(unw_cursor_t *cursor,
				    const struct sp_unwind_snapshot *snapshot,
				    bool is_signal, uint64_t *frames, uint32_t max_frames)
{
	struct sp_unwind_result result = {.end = SP_UNWIND_FULL};
	bool is_interrupted = is_signal;

	for (uint32_t steps = 0; steps < max_frames + AGENT_FRAMES_MAX; steps++) {
		const struct sp_unwind_module *module;
		unw_word_t ip = 0;
		bool is_trampoline;
		uint64_t address;
		int left;

		functions.get_reg(cursor, UNW_REG_IP, &ip);
		if (ip == 0) {
			result.end = SP_UNWIND_OUTERMOST;
			break;
		}
		module = sp_unwind_find_module(snapshot, ip);
		is_trampoline = is_signal_trampoline(module, ip);
		address = is_interrupted || is_trampoline ? ip : ip - 1;
		module = sp_unwind_find_module(snapshot, address);
		if (!module || !module->is_agent) {
			if (result.depth_frames == max_frames)
				break;
			frames[result.depth_frames++] = encode(module, address);
		}
		left = functions.step(cursor);
		if (left <= 0) {
			result.end = left == 0 ? SP_UNWIND_OUTERMOST : SP_UNWIND_NO_RULE;
			break;
		}
		is_interrupted = is_trampoline;
	}
	return result;
}

struct sp_unwind_result sp_unwind_libunwind(const struct sp_unwind_snapshot *snapshot,
					    const void *ucontext, bool is_signal,
					    uint64_t *frames, uint32_t max_frames)
{
	struct sp_unwind_result none = {.end = SP_UNWIND_NO_RULE};
	int saved_errno = errno;
	struct sp_unwind_result result;
	unw_context_t context;
	unw_cursor_t cursor;

	/* libunwind keeps pointers into the context and may write to it. */
	context = *(const unw_context_t *)ucontext;
	if (!atomic_load(&is_open) ||
	    functions.init_local2(&cursor, &context,
				  is_signal ? UNW_INIT_SIGNAL_FRAME : 0))
		return none;
	result = walk(&cursor, snapshot, is_signal, frames, max_frames);
	errno = saved_errno;
	return result;
}

struct sp_unwind_memo_result
sp_unwind_memo_by_libunwind(struct sp_unwind_memo *memo,
			    const struct sp_unwind_snapshot *snapshot,
			    const struct sp_unwind_regs *regs)
{
	struct sp_unwind_result result;
	ucontext_t context;

	memset(&context, 0, sizeof(context));
	sp_unwind_regs_to_ucontext(regs, &context);
	result = sp_unwind_libunwind(snapshot, &context, true, sp_unwind_memo_room(memo),
				     sp_capture.depth_frames_max);
	return sp_unwind_memo_take(memo, result.depth_frames, result.end);
}
