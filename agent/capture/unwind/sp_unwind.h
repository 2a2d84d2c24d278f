/*
 * Stack walking. A walk uses nothing but the caller's registers, a bounded
 * piece of stack and a published, immutable snapshot of the loaded modules: no
 * lock, no loader call that can wait, no allocation, no system call (but see
 * guarded reads). The same code walks a live stack in the signal handler and a
 * copy of a stack later on the reporter thread.
 */
#ifndef SP_UNWIND_H
#define SP_UNWIND_H

#include "sp_frame.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* DWARF register numbers of x86-64: rax rdx rcx rbx rsi rdi rbp rsp r8..r15, rip. */
#define SP_DWARF_RBP 6
#define SP_DWARF_RSP 7
#define SP_DWARF_RA 16
#define SP_UNWIND_REGS 17

struct sp_unwind_regs {
	uint64_t value[SP_UNWIND_REGS]; /* by DWARF number; [SP_DWARF_RA] is the pc */
};

/*
 * Where the words of the stack are read from: [low, high) as addresses in the
 * host, found at address + delta (0 for the live stack). When is_guarded is set,
 * words outside are read by process_vm_readv() instead of ending the walk (a
 * coroutine's stack, whose bounds nobody knows).
 */
struct sp_unwind_stack {
	uint64_t low, high;
	int64_t delta;
	bool is_guarded;
	/* sp_unwind_closes when it was as it is here: modules may have been unloaded
	 * since, and others may lie in their places. Of those that may go only what was
	 * there by then is believed. UINT64_MAX: it is so now. */
	uint64_t closes;
};

/* Entries of a page of 4 KiB. */
#define SP_UNWIND_INDEX_STEP 512U

/* One loaded object; private memory of the agent, immutable once published. */
struct sp_unwind_module {
	uint64_t start, end;	       /* all its mappings lie within [start, end) */
	uint64_t text_start, text_end; /* span of its executable mappings */
	uint64_t base;		       /* frame offset = address - base */
	uint16_t id;		       /* as in the recording's module table */
	bool is_permanent;	       /* loaded at start: cannot be unloaded */
	bool is_agent;	       /* our own code: its frames are left out of stacks */
	bool is_text_readable; /* its code may be looked at, not only run */
	/* As _dl_find_object() reported them when the module was read; a module
	 * that is not permanent is believed only while it still says the same.
	 * link_map NULL: the loader did not know it. */
	const void *link_map;
	uint64_t loader_start, loader_end, loader_eh_frame;
	/*
	 * And only while nobody has marked it as gone: what takes its place may look the
	 * same to the loader. The mark, which is shared by all snapshots that have the
	 * module, must be mark_seen. closes: sp_unwind_closes when it was there, and
	 * since when it has not been marked.
	 */
	_Atomic uint64_t *mark;
	uint64_t mark_seen, closes;
	/*
	 * Unwind data as found in memory at these host addresses, readable at
	 * address + data_delta: 0 for permanent modules, else a private copy, so
	 * that an unload can never pull it away from under a walk.
	 */
	uint64_t hdr_address, hdr_bytes;	   /* .eh_frame_hdr, 0: none */
	uint64_t eh_frame_address, eh_frame_bytes; /* to the end of its segment */
	int64_t hdr_delta, eh_frame_delta;
	/* The linker's sorted table in .eh_frame_hdr where it can be read; NULL: none. */
	const uint8_t *table;
	uint32_t table_count;
	/* Of a long one each SP_UNWIND_INDEX_STEP-th start; NULL: none. Searched first,
	 * it spares a walk most of the pages that the table lies on. */
	const int32_t *table_index;
	/* What was read ahead of the CIEs that most functions of the table have. */
	const struct sp_unwind_cie *cies;
	uint32_t cie_count;
	/* Sorted {function start, offset of its FDE} built by us, for modules
	 * whose header has no search table or that have only .debug_frame. */
	const struct sp_unwind_fde *fdes;
	uint32_t fde_count;
	bool is_debug_frame; /* the eh_frame_* range holds .debug_frame */
	/* The file's .debug_frame, where it has one, for code that has no entry in
	 * memory; nothing of it counts but the unwind data, start, end and base. */
	const struct sp_unwind_module *debug_frame;
};

struct sp_unwind_fde {
	uint32_t start_offset; /* function start - base */
	uint32_t fde_offset;   /* from eh_frame_address */
};

struct sp_unwind_range {
	uint64_t start, end;
};

struct sp_unwind_snapshot {
	/* No two snapshots of a process have the same, and none has 0. */
	uint64_t generation;
	uint32_t count;
	/* Readable executable memory that belongs to no module (JIT code), sorted. */
	uint32_t code_count;
	const struct sp_unwind_range *code;
	struct sp_unwind_module modules[]; /* sorted by start */
};

/* Published by the module tracker (collect/modules.c); NULL until the first scan. */
extern _Atomic(const struct sp_unwind_snapshot *) sp_unwind_snapshot;

/*
 * Grows when a dlclose() begins, and when the loader has done its part of it: whatever is
 * unloaded between two looks has changed it. What the loader drops by itself, as when a
 * dlopen() fails, is not counted.
 */
extern _Atomic uint64_t sp_unwind_closes;

/*
 * Context: hook, after a dlclose() that is counted, and as one that keeps snapshots from
 * being freed. No lock, no wait. Marks the modules of the snapshot that are gone, and no
 * others.
 */
void sp_unwind_mark_unloaded(void);

enum sp_unwind_end {
	SP_UNWIND_OUTERMOST, /* complete: return address undefined, or entry function */
	SP_UNWIND_FULL,	     /* max_frames reached */
	SP_UNWIND_NO_MODULE, /* code that is in no snapshot yet: walk again later */
	SP_UNWIND_NO_RULE,   /* no unwind data, and the frame pointer led nowhere */
	SP_UNWIND_BAD_STACK, /* a read outside the stack, or the stack did not grow */
};

struct sp_unwind_result {
	uint32_t depth_frames;
	enum sp_unwind_end end;
	/* Where the leaf is the agent's: what the program called of it, a hook mostly. It
	 * is not among the frames. 0: none. */
	uint64_t hook_frame;
};

/*
 * Context: signal. Walks from regs, leaf first, and writes at most max_frames
 * frames (sp_frame.h) to frames. Every read is inside stack (or guarded) and
 * the stack pointer must grow from frame to frame. Frames of the agent itself
 * are left out. Always returns the leaf at least. Keeps errno. A frame that holds
 * no return address but the kernel's signal trampoline is written as it is, the
 * frame above it at the interrupted instruction.
 */
struct sp_unwind_result sp_unwind(const struct sp_unwind_snapshot *snapshot,
				  const struct sp_unwind_regs *regs,
				  const struct sp_unwind_stack *stack, uint64_t *frames,
				  uint32_t max_frames);

/* Context: signal. Makes the hook, which is not 0, the leaf; the outermost frame goes
 * where there is no room. */
void sp_unwind_put_hook(struct sp_unwind_result *result, uint64_t *frames,
			uint32_t max_frames);

/* Context: signal. Those that a call keeps, the stack pointer and the pc, as they are
 * here in the caller's frame; the others are 0. */
static inline __attribute__((always_inline)) void
sp_unwind_regs_here(struct sp_unwind_regs *regs)
{
	uint64_t *value = regs->value;

	/* One by one: for a structure of this size compilers take an instruction that is
	 * slow to begin. */
	value[0] = value[1] = value[2] = value[4] = value[5] = 0;
	value[8] = value[9] = value[10] = value[11] = 0;
	__asm__ volatile("movq %%rbx, %0\n\t"
			 "movq %%rbp, %1\n\t"
			 "movq %%rsp, %2\n\t"
			 "movq %%r12, %3\n\t"
			 "movq %%r13, %4\n\t"
			 "movq %%r14, %5\n\t"
			 "movq %%r15, %6\n\t"
			 : "=m"(value[3]), "=m"(value[SP_DWARF_RBP]),
			   "=m"(value[SP_DWARF_RSP]), "=m"(value[12]), "=m"(value[13]),
			   "=m"(value[14]), "=m"(value[15]));
	__asm__ volatile("leaq 0(%%rip), %0" : "=r"(value[SP_DWARF_RA]));
}

/* Context: signal. The registers that a signal interrupted (a ucontext_t). */
void sp_unwind_regs_from_ucontext(struct sp_unwind_regs *regs, const void *ucontext);

/* Context: signal. The other way; what is not a register stays as it is. */
void sp_unwind_regs_to_ucontext(const struct sp_unwind_regs *regs, void *ucontext);

/* Context: signal. Module that holds address, or NULL. */
const struct sp_unwind_module *
sp_unwind_find_module(const struct sp_unwind_snapshot *snapshot, uint64_t address);

/* Context: init, before the first walk; again is nothing. Makes room for rules that were
 * found once: without it, or without memory, walks are slower. */
void sp_unwind_cache_open(void);

/*
 * Context: signal; one system call. Clears the rule cache: in a fork child whose
 * module ids start anew, or in a test.
 */
void sp_unwind_cache_reset(void);

/*
 * The same walk by libunwind.so.8: slower, may take the loader's lock, and hence
 * for captures outside signal handlers and as the oracle of the tests. It is opened
 * by dlopen(RTLD_LOCAL) and never linked: as a dependency it would take over the
 * exceptions of the host's C++ code.
 */

/* Context: init. 0, or -ENOENT when there is no such library. */
int sp_unwind_libunwind_open(void);

/*
 * Context: hook. What sp_unwind() does, from a ucontext_t of this thread (in a
 * handler, the one it was given; else from getcontext()). is_signal: the pc is
 * that of an instruction, not a return address. Depth 0, SP_UNWIND_NO_RULE before a
 * successful open.
 */
struct sp_unwind_result sp_unwind_libunwind(const struct sp_unwind_snapshot *snapshot,
					    const void *ucontext, bool is_signal,
					    uint64_t *frames, uint32_t max_frames);

#endif
