/*
 * The state that hooks and the signal handler share, and what they do with a
 * sample. Everything here may be interrupted by our own signal and runs in the
 * host's frames: no lock, no wait, no allocation, no loader call.
 */
#ifndef SP_CAPTURE_H
#define SP_CAPTURE_H

#include "sp_compiler.h"
#include "sp_recording.h"
#include "sp_unwind.h"

/*
 *            constructor
 *   OFF ────────────────────▶ RUNNING
 *    ▲                         │   ▲
 *    │     fork, in the child  ▼   │  its first sample or thread
 *    └──────────────────────  FORKED ◀──▶ ENDING
 *     no recording to be had         end or exec, failed exec, fork
 *
 * sp_capture_set_state() and sp_capture_change_state() make every transition.
 */
enum sp_capture_state {
	SP_CAPTURE_OFF, /* hooks pass everything through */
	SP_CAPTURE_RUNNING,
	SP_CAPTURE_FORKED, /* in a child that has no recording of its own yet */
	SP_CAPTURE_ENDING, /* such a child, about to end or to exec: it begins none */
};

/* Zero again in any child that got a copy of our memory (MADV_WIPEONFORK), also
 * where no fork handler ran. */
struct sp_own_process {
	_Atomic uint32_t is_ours;
};

struct sp_capture {
	_Atomic uint32_t state;
	_Atomic uint32_t process_id; /* whose state this is: differs in a vfork child */
	struct sp_own_process *own_process;
	struct sp_recording recording;
	uint64_t period_ns;
	uint32_t depth_frames_max;
	bool uses_libunwind; /* for stacks that are not walked in a signal */
	_Atomic uint32_t handlers_running;
	_Atomic bool has_reporter_thread;
	/* Whose call is about to end the process or its image, for which all was written;
	 * 0: nobody's. If it goes on after all, that thread must say so. */
	_Atomic uint32_t ending_thread;
	/* Futex of the reporter thread: 1 = there is something to do. */
	_Atomic uint32_t wake;
	_Atomic bool wants_modules; /* code was met that is in no snapshot */
	_Atomic bool wants_code;    /* a stack led nowhere: by generated code? */
	_Atomic uint32_t timers_armed;
	uint32_t timers_max; /* half of RLIMIT_SIGPENDING stays the program's */
	/* Set by the agent: drain the rings and take storage, by whoever cannot wait for
	 * the reporter thread; note what clocks and counters say, by the handler where
	 * there is none; begin in a fork child. */
	void (*drain)(void);
	void (*note)(struct sp_slot *slot);
	void (*begin_in_child)(void);
	/* Calls of the allocator that go past our hooks meet them again. */
	void (*bring_hooks_back)(void);
	/* The calling thread jumps; perhaps out of an end. */
	void (*goes_on)(void);
	/* Spans of a child whose recording began while work of its parent's was not over
	 * (sp_capture_is_cut_off()): now it is. */
	void (*begin_spans)(void);
};

extern SP_HIDDEN struct sp_capture sp_capture;

/* Context: signal. */
void sp_capture_set_state(enum sp_capture_state state);

/* Context: signal. At once, also against our handler. False in any other state. */
bool sp_capture_change_state(enum sp_capture_state from, enum sp_capture_state to);

/* Context: signal. Is this our process, no copy of it? */
static inline bool sp_capture_is_own_process(void)
{
	return sp_capture.own_process &&
	       atomic_load_explicit(&sp_capture.own_process->is_ours,
				    memory_order_relaxed);
}

/* Context: signal. Is this our process (no copy of it), and is it recording? */
static inline bool sp_capture_is_running(void)
{
	/* Acquire: the recording is there before the state says so. */
	return atomic_load_explicit(&sp_capture.state, memory_order_acquire) ==
		       SP_CAPTURE_RUNNING &&
	       atomic_load_explicit(&sp_capture.own_process->is_ours,
				    memory_order_relaxed);
}

/*
 * Context: signal, in a fork child. Was it forked in a handler of the program's that
 * interrupted work of ours on the recording, and has not returned to that? It works on
 * with what was its parent's, which is a copy here and stays mapped until then.
 */
bool sp_capture_is_cut_off(void);

/* Context: signal. Some such work is over; perhaps it was the last. */
void sp_capture_work_ended(void);

/* Context: signal. For whoever found a table full: drains the rings and takes storage
 * at once, unless somebody is at it. System calls, no wait. */
void sp_capture_take_storage(void);

/* Context: signal. One futex call at most; never waits. */
void sp_capture_wake_reporter(void);

/* Context: signal; as above. A stack led nowhere, perhaps by code that was generated
 * since the last scan. */
void sp_capture_want_code(void);

/*
 * Context: signal, on the thread that owns the slot. Takes one CPU sample of
 * weight_periods from the interrupted state.
 */
void sp_capture_cpu_sample(struct sp_slot *slot, uint32_t weight_periods,
			   const void *ucontext);

#endif
