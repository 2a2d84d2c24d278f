/*
 * Life of the agent inside a host: constructor, fork, exec, exit. Everything is wired
 * here and nothing is done here; the parts know each other by the calls that this
 * file hands them. It never fails the host: whatever goes wrong is told once, and
 * the program runs on unprofiled.
 */
#include "heap_absorb.h"
#include "heap_jemalloc.h"
#include "process_end.h"
#include "sp_alloc_choice.h"
#include "sp_alloc_extended.h"
#include "sp_alloc_next.h"
#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_collector.h"
#include "sp_compiler.h"
#include "sp_cpu_timer.h"
#include "sp_heap_capture.h"
#include "sp_hooks.h"
#include "sp_log.h"
#include "sp_options.h"
#include "sp_pages.h"
#include "sp_process_identity.h"
#include "sp_recording_writer.h"
#include "sp_reporter_thread.h"
#include "sp_ring.h"
#include "sp_signal.h"
#include "sp_span_capture.h"
#include "sp_spans.h"
#include "sp_syscall.h"
#include "sp_text.h"
#include "sp_thread.h"
#include "span_absorb.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* At the end of the process somebody waits for the profiles, but not for ever: a
 * thread that sleeps with the loader's lock, or a disk that hangs, must not keep
 * the host from ending. */
#define END_TIMEOUT_NS (30 * SP_NS_PER_SECOND)

extern char **environ;
extern void *__libc_stack_end;

/* For the threads of the first moments; the reporter thread adds more. */
#define RINGS_FIRST 5
/* What whoever finds none adds. */
#define RINGS_IN_NEED 8
#define SLOTS_IN_NEED 128

static struct sp_options options;
static struct sp_absorber absorber;
static struct sp_reporter_setup reporter_setup;
static const char *program;
static bool are_spans_on;
/* What SPANPROF_SPANS says but for its own words: patterns of functions. */
static char span_functions[sizeof(options.spans)];
static enum sp_heap_coverage heap_coverage;

/*
 * The kernel's clocks go on across exec. What they show when our constructor runs is
 * the loader's work, some milliseconds at most, or else an earlier image's, whose
 * time is not this program's.
 */
#define LOADER_CPU_NS_MAX UINT64_C(20000000)
static struct sp_cpu_usage earlier;
static uint64_t earlier_thread_cpu_ns; /* of the thread that called exec */

/* The recording of a fork child is begun once, by handler or hook, whoever is first. */
static _Atomic bool is_beginning;

/* --- the recording of this process --- */

static uint64_t span_ticks(void)
{
	return sp_clock_ticks();
}

static int make_recording(void)
{
	struct sp_recording_settings settings = {
		.directory = options.recording_dir,
		.runtime_directory = secure_getenv("XDG_RUNTIME_DIR"),
		.out_directory = options.out_dir,
		.program = program,
		.bytes_max = options.recording_bytes_max,
	};
	int err = sp_recording_create(&sp_capture.recording, &settings);

	if (err)
		return err;
	sp_collector_identify(&sp_capture.recording, &options, program);
	sp_capture.recording.header->earlier_cpu_ns = earlier.cpu_ns;
	sp_capture.recording.header->earlier_thread_cpu_ns = earlier_thread_cpu_ns;
	sp_capture.recording.header->earlier_user_ns = earlier.user_ns;
	sp_capture.recording.header->earlier_system_ns = earlier.system_ns;
	absorber.wants_heap = sp_heap_capture_wants_absorb;
	absorber.give_span_back = sp_span_give_back;
	absorber.now_ticks = span_ticks;
	absorber.held_spans_max = options.held_spans_max;
	sp_heap_capture_begin(&sp_capture.recording);
	sp_span_capture_begin(&sp_capture.recording);
	atomic_store_explicit(&sp_capture.recording.header->heap_coverage, heap_coverage,
			      memory_order_relaxed);
	err = sp_absorber_init(&absorber, &sp_capture.recording);
	if (err)
		return err;
	sp_ring_pool_grow(&sp_capture.recording, RINGS_FIRST);
	sp_heap_keep_ahead(&absorber);
	atomic_store_explicit(&sp_capture.recording.header->state, SP_RECORDING_RUNNING,
			      memory_order_release);
	return 0;
}

static void main_stack(uint64_t *low, uint64_t *high)
{
	struct rlimit limit;
	uint64_t bytes = UINT64_C(8) << 20;

	/* The environment lies above it, the frames below. */
	*high = ((uint64_t)(uintptr_t)__libc_stack_end + SP_PAGE_BYTES) &
		~(SP_PAGE_BYTES - 1);
	if (sp_syscall4(SYS_prlimit64, 0, RLIMIT_STACK, NULL, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur > bytes)
		bytes = limit.rlim_cur < (UINT64_C(128) << 20) ? limit.rlim_cur
							       : UINT64_C(128) << 20;
	*low = *high - bytes;
}

/* --- threads that nobody told us of --- */

/* A thread that waits for the signal with it blocked (the C library's timer thread)
 * would take ours for its own. */
static bool is_signal_blocked(int tid)
{
	char text[2048];
	char path[64];
	struct sp_text name;
	const char *line;

	sp_text_init(&name, path, sizeof(path));
	sp_text_string(&name, "/proc/self/task/");
	sp_text_decimal(&name, (uint64_t)tid);
	sp_text_string(&name, "/status");
	sp_process_read_file(path, text, sizeof(text));
	line = strstr(text, "\nSigBlk:");
	return line && (strtoull(line + 8, NULL, 16) & sp_signal_bit(sp_signal_number()));
}

static void adopt_thread(int tid, bool is_main)
{
	struct sp_slot *slot;
	uint64_t low, high;

	/* Its time shows as that of an unknown thread. A dying thread, whose time is
	 * counted already, blocks all signals too. */
	if (is_signal_blocked(tid))
		return;
	slot = sp_thread_adopt(tid, is_main ? getauxval(AT_ENTRY) : 0);
	if (!slot)
		return;
	if (is_main) {
		main_stack(&low, &high);
		atomic_store_explicit(&slot->stack_low, low, memory_order_relaxed);
		atomic_store_explicit(&slot->stack_high, high, memory_order_relaxed);
		sp_thread_set_own_slot(slot);
		sp_heap_thread_begin(slot);
	}
	sp_cpu_timer_arm(slot);
}

static void end_thread(struct sp_slot *slot, uint64_t cpu_ns)
{
	sp_cpu_timer_disarm(slot);
	sp_heap_thread_vanished(slot);
	sp_thread_end(slot, cpu_ns);
}

/* Where an allocator has more functions than malloc() and its like. */
static void tell_unpatched(const struct sp_got_result *result)
{
	static bool has_told;

	if (!result->failed || has_told)
		return;
	has_told = true;
	sp_log_error("heap profile: %u calls of the program's allocator other than "
		     "malloc() could not be redirected and are not seen",
		     result->failed);
}

static bool module_loaded(uint64_t start, const void *link_map)
{
	struct sp_got_result result = {0};
	bool is_done = sp_alloc_extended_patch(start, link_map, &result);

	tell_unpatched(&result);
	is_done &= sp_spans_module_loaded(start, link_map);
	return is_done;
}

static bool wants_modules(void)
{
	return sp_alloc_extended_has_news() || sp_spans_want_modules();
}

static void verify_signal(void)
{
	sp_signal_verify();
}

/* --- fork --- */

static void take_storage_in_need(struct sp_recording_header *header)
{
	uint64_t live = atomic_load_explicit(&header->live_slots, memory_order_relaxed);

	if (!atomic_load_explicit(&header->free_ring_count, memory_order_relaxed))
		sp_ring_pool_grow(&sp_capture.recording, RINGS_IN_NEED);
	if (live >= sp_recording_reserved(&sp_capture.recording, SP_SECTION_SLOTS))
		sp_recording_reserve(&sp_capture.recording, SP_SECTION_SLOTS,
				     live + SLOTS_IN_NEED);
	sp_heap_keep_ahead(&absorber);
	sp_span_keep_ahead(&absorber);
	sp_heap_filter_keep_ahead(&sp_capture.recording);
}

/*
 * Hooks do this with the program's signals open. A handler of the program's that never
 * came back (it jumps, or ends the process) would keep the lock for ever.
 */
static uint64_t hold_signals(void)
{
	uint64_t all = ~UINT64_C(0), before = 0;

	sp_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
	return before;
}

static void release_signals(uint64_t before)
{
	sp_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
}

/* Context: signal. Where there is no reporter thread, or a starved one. */
static void drain_in_handler(void)
{
	uint64_t mask = hold_signals();

	if (sp_absorber_try_lock(&absorber, (uint32_t)sp_syscall0(SYS_gettid))) {
		sp_absorber_drain(&absorber);
		take_storage_in_need(sp_capture.recording.header);
		sp_absorber_unlock(&absorber);
	}
	release_signals(mask);
}

static void begin_spans(void)
{
	const struct sp_spans_setup setup = {
		.sources = options.span_sources,
		.functions = span_functions,
		.environment = environ,
	};

	if (are_spans_on)
		sp_spans_begin(&setup);
}

/* The stack of the thread that forked, as its slot in the parent knew it. */
static uint64_t forked_stack_low, forked_stack_high;

/*
 * Context: signal. The child's own recording: the parent's mapping is left, ids of
 * modules stay what they were, and the thread that forked gets the first slot. There
 * is no reporter thread; the handler drains until somebody starts one.
 */
static void begin_in_child(void)
{
	/* Too large for a thread's small stack; is_beginning guards it. */
	static struct sp_recording parents;
	struct sp_slot *slot;
	uint64_t mask;

	/* A vfork child of ours would begin it in its own name. */
	if (!sp_hooks_is_own_process())
		return;
	mask = hold_signals();
	if (atomic_exchange(&is_beginning, true)) {
		release_signals(mask);
		return;
	}
	if (atomic_load_explicit(&sp_capture.state, memory_order_relaxed) !=
	    SP_CAPTURE_FORKED)
		goto out;
	parents = sp_capture.recording;
	memset(&sp_capture.recording, 0, sizeof(sp_capture.recording));
	/* The inherited index may be half changed: it is left, not released. */
	memset(&absorber.nodes, 0, sizeof(absorber.nodes));
	memset(&absorber.cells, 0, sizeof(absorber.cells));
	absorber.finish_stack = NULL;
	if (make_recording() != 0) {
		sp_capture_set_state(SP_CAPTURE_OFF);
		goto out;
	}
	if (parents.header)
		sp_recording_copy_modules(&sp_capture.recording, &parents);
	sp_recording_detach(&parents);
	slot = sp_thread_adopt((int)sp_syscall0(SYS_gettid), getauxval(AT_ENTRY));
	if (slot) {
		atomic_store_explicit(&slot->stack_low, forked_stack_low,
				      memory_order_relaxed);
		atomic_store_explicit(&slot->stack_high, forked_stack_high,
				      memory_order_relaxed);
		sp_cpu_timer_give_forked(slot);
		sp_thread_set_own_slot(slot);
		sp_heap_thread_begin(slot);
	}
	sp_capture_set_state(SP_CAPTURE_RUNNING);
	begin_spans();
out:
	atomic_store(&is_beginning, false);
	release_signals(mask);
}

static void note_forked_stack(void)
{
	const struct sp_slot *slot = sp_hooks_thread_slot();
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
	uint64_t low, high;

	main_stack(&low, &high);
	if (here < low || here >= high) {
		low = high = 0;
		if (slot && sp_capture.recording.header) {
			low = atomic_load_explicit(&slot->stack_low,
						   memory_order_relaxed);
			high = atomic_load_explicit(&slot->stack_high,
						    memory_order_relaxed);
		}
	}
	forked_stack_low = low;
	forked_stack_high = high;
}

/* In the child, in the forking thread: no more than arming its timer; most children
 * exec at once. */
static void after_fork_in_child(void)
{
	uint32_t state = atomic_load_explicit(&sp_capture.state, memory_order_relaxed);

	sp_heap_after_fork_in_child();
	if (state == SP_CAPTURE_OFF || !sp_capture.own_process)
		return;
	memset(&earlier, 0, sizeof(earlier));
	earlier_thread_cpu_ns = 0;
	note_forked_stack();
	sp_process_end_forked();
	sp_hooks_thread_forked();
	sp_thread_set_own_slot(NULL);
	sp_heap_capture_forked();
	sp_span_capture_forked();
	sp_reporter_thread_forked();
	atomic_store_explicit(&sp_capture.own_process->is_ours, 1, memory_order_relaxed);
	atomic_store_explicit(&sp_capture.process_id, (uint32_t)sp_syscall0(SYS_getpid),
			      memory_order_relaxed);
	atomic_store_explicit(&sp_capture.handlers_running, 0, memory_order_relaxed);
	atomic_store(&is_beginning, false);
	sp_capture_set_state(SP_CAPTURE_FORKED);
	sp_cpu_timer_arm_forked();
}

/* --- what the hooks ask for --- */

/* False when there is none and none can be had. */
static bool ensure_reporter_thread(void)
{
	static _Atomic bool is_starting;
	bool has;

	if (atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		return true;
	if (!sp_heap_is_usable() || atomic_exchange(&is_starting, true))
		return false;
	has = sp_reporter_thread_start(&reporter_setup) == 0;
	atomic_store(&is_starting, false);
	return has;
}

static void safe_point(void)
{
	uint32_t state = atomic_load_explicit(&sp_capture.state, memory_order_acquire);

	if (sp_likely(atomic_load_explicit(&sp_capture.has_reporter_thread,
					   memory_order_relaxed)))
		return;
	if (state == SP_CAPTURE_FORKED)
		begin_in_child();
	else if (state != SP_CAPTURE_RUNNING)
		return;
	ensure_reporter_thread();
}

static void before_chroot(void)
{
	safe_point();
	sp_reporter_thread_await_separate(END_TIMEOUT_NS);
}

static void write_at_end(void)
{
	uint32_t state = atomic_load_explicit(&sp_capture.state, memory_order_acquire);
	int saved_errno = errno;

	/* A fork child that never ran long enough for a sample has nothing to tell. */
	if (state != SP_CAPTURE_RUNNING)
		return;
	sp_span_settle();
	if (atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		sp_reporter_thread_ask(SP_REQUEST_WRITE_END, END_TIMEOUT_NS);
	else if (sp_heap_is_usable())
		sp_reporter_write_here(&reporter_setup);
	errno = saved_errno;
}

static bool pause_reporter(void)
{
	if (!sp_reporter_thread_ask(SP_REQUEST_STOP, END_TIMEOUT_NS))
		return false;
	sp_reporter_thread_join();
	return true;
}

static void resume_reporter(void)
{
	ensure_reporter_thread();
}

/*
 * Any system call may end the program from here on, in any thread. What was recorded
 * is written, and nothing of ours runs again but hooks that pass everything through.
 */
static void before_confinement(void)
{
	uint32_t slots;

	sp_hooks_set_calls(NULL);
	if (atomic_load_explicit(&sp_capture.state, memory_order_acquire) !=
	    SP_CAPTURE_RUNNING) {
		sp_capture_set_state(SP_CAPTURE_OFF);
		sp_cpu_timer_disarm_forked();
		return;
	}
	sp_span_settle();
	if (ensure_reporter_thread()) {
		sp_reporter_thread_ask(SP_REQUEST_WRITE_CONFINED, END_TIMEOUT_NS);
		pause_reporter();
	}
	sp_capture_set_state(SP_CAPTURE_OFF);
	slots = (uint32_t)sp_recording_used(&sp_capture.recording, SP_SECTION_SLOTS);
	for (uint32_t i = 0; i < slots; i++)
		sp_cpu_timer_disarm(sp_thread_slot_at(i));
}

static void before_exit(void)
{
	if (!sp_process_end_awaits_other())
		write_at_end();
}

/* --- start --- */

static void make_absolute(char *path, size_t path_bytes)
{
	char relative[PATH_MAX];
	struct sp_text text;

	if (*path == '/' || !*path)
		return;
	memcpy(relative, path,
	       path_bytes < sizeof(relative) ? path_bytes : sizeof(relative));
	if (sp_syscall2(SYS_getcwd, path, path_bytes) < 0) {
		memcpy(path, relative, path_bytes);
		return;
	}
	if (strcmp(relative, ".") == 0)
		return;
	sp_text_init(&text, path + strlen(path), path_bytes - strlen(path));
	sp_text_char(&text, '/');
	sp_text_string(&text, relative);
}

/* The choice itself is made long since, at the first allocation. */
static void tell_allocator(void)
{
	const char *refusal;

	sp_alloc_find();
	refusal = sp_alloc_refusal();
	if (refusal)
		sp_log_error("no jemalloc for the program: %s; its allocator stays",
			     refusal);
	else if (sp_alloc_is_jemalloc())
		sp_log_verbose("jemalloc serves the program");
}

static bool read_options(void)
{
	char error[512];

	sp_options_init(&options);
	sp_log_init(STDERR_FILENO, false, false);
	if (sp_options_parse(&options, environ, error, sizeof(error)) != 0) {
		sp_log_error("%s", error);
		return false;
	}
	if (!options.is_disabled &&
	    !sp_spans_check(options.span_sources, error, sizeof(error))) {
		sp_log_error("SPANPROF_SOURCES: %s; the program runs unprofiled", error);
		return false;
	}
	sp_log_init(STDERR_FILENO, options.is_quiet, options.is_verbose);
	tell_allocator();
	make_absolute(options.out_dir, sizeof(options.out_dir));
	make_absolute(options.recording_dir, sizeof(options.recording_dir));
	return (options.is_cpu_enabled || options.is_heap_enabled) &&
	       !options.is_disabled;
}

/* Every timer takes one of the user's pending signals: half stay the program's, but
 * where there is only one, a profile is worth it. */
static uint32_t timers_allowed(void)
{
	struct rlimit limit;

	if (sp_syscall4(SYS_prlimit64, 0, RLIMIT_SIGPENDING, NULL, &limit) < 0 ||
	    limit.rlim_cur / 2 > UINT32_MAX)
		return UINT32_MAX;
	return limit.rlim_cur == 1 ? 1 : (uint32_t)(limit.rlim_cur / 2);
}

static void prepare_heap(void)
{
	const struct sp_heap_settings settings = {
		.rate_bytes = options.heap_rate_bytes,
		.seed = options.heap_seed,
	};
	struct sp_got_result result = {0};

	if (!options.is_heap_enabled)
		return;
	if (sp_heap_capture_init(&settings) != 0) {
		sp_log_error("no memory for the heap profile: there will be none");
		return;
	}
	heap_coverage = sp_alloc_coverage();
	/* All of the allocator's functions are hooked, or none. */
	if (heap_coverage != SP_HEAP_COVERS_ALL)
		return;
	sp_alloc_extended_start(&result);
	tell_unpatched(&result);
}

static void prepare_spans(void)
{
	const struct sp_span_settings settings = {
		.has_exact_cpu = options.span_cpu == SP_SPAN_CPU_EXACT,
		.has_ids = sp_options_list_has(options.spans, "id"),
		.probability_millionths = options.span_probability_millionths,
		.labels = options.span_labels,
	};

	are_spans_on = !sp_options_list_has(options.spans, "off");
	if (!are_spans_on)
		return;
	memcpy(span_functions, options.spans, sizeof(span_functions));
	sp_options_list_remove(span_functions, "id");
	sp_span_capture_init(&settings);
}

static bool prepare_capture(void)
{
	struct sp_own_process *own_process = sp_pages_map(SP_PAGE_BYTES);

	if (!own_process)
		return false;
	sp_syscall3(SYS_madvise, own_process, SP_PAGE_BYTES, MADV_WIPEONFORK);
	atomic_store_explicit(&own_process->is_ours, 1, memory_order_relaxed);
	sp_capture.own_process = own_process;
	sp_capture.period_ns =
		options.is_cpu_enabled ? SP_NS_PER_SECOND / options.cpu_hz : 0;
	/* One frame is for what a cut stack ends in. */
	sp_capture.depth_frames_max = options.depth_frames_max < SP_STACK_FRAMES_MAX
					      ? options.depth_frames_max
					      : SP_STACK_FRAMES_MAX - 1;
	sp_capture.timers_max = timers_allowed();
	sp_capture.drain = drain_in_handler;
	sp_capture.begin_in_child = begin_in_child;
	atomic_store_explicit(&sp_capture.process_id, (uint32_t)sp_syscall0(SYS_getpid),
			      memory_order_relaxed);
	return true;
}

/* A child that execs at once begins no recording meanwhile: nobody would end it. */
static void before_exec(void)
{
	if (atomic_load_explicit(&sp_capture.state, memory_order_relaxed) ==
	    SP_CAPTURE_FORKED)
		sp_capture_set_state(SP_CAPTURE_EXECING);
	else
		write_at_end();
}

static void after_failed_exec(void)
{
	if (atomic_load_explicit(&sp_capture.state, memory_order_relaxed) ==
	    SP_CAPTURE_EXECING)
		sp_capture_set_state(SP_CAPTURE_FORKED);
}

static void start(void)
{
	static const struct sp_hook_calls hook_calls = {
		.safe_point = safe_point,
		.before_exec = before_exec,
		.after_failed_exec = after_failed_exec,
		.before_exit = before_exit,
		.before_chroot = before_chroot,
		.before_confinement = before_confinement,
		.forked = after_fork_in_child,
		.pause_reporter = pause_reporter,
		.resume_reporter = resume_reporter,
	};
	static const struct sp_collector_calls collector_calls = {
		.adopt_thread = adopt_thread,
		.end_thread = end_thread,
		.verify_signal = verify_signal,
		.module_loaded = module_loaded,
		.wants_modules = wants_modules,
	};
	int err;

	if (!read_options() || !prepare_capture())
		return;
	sp_clock_init();
	prepare_heap();
	prepare_spans();
	sp_cpu_usage_read(&earlier);
	if (earlier.cpu_ns <= LOADER_CPU_NS_MAX)
		memset(&earlier, 0, sizeof(earlier));
	else
		earlier_thread_cpu_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	program = sp_text_base_name((const char *)getauxval(AT_EXECFN));
	reporter_setup = (struct sp_reporter_setup){
		.options = &options,
		.program = program,
		.calls = &collector_calls,
		.recording = &sp_capture.recording,
		.absorber = &absorber,
		.create_thread = sp_hooks_create_own_thread,
	};
	err = sp_signal_choose(options.signal_number);
	if (err >= 0)
		err = sp_signal_install(sp_cpu_timer_handler);
	if (err < 0) {
		sp_log_error(
			"no signal for the CPU timers: %s; the program runs unprofiled",
			strerrordesc_np(-err));
		return;
	}
	err = make_recording();
	if (err) {
		sp_log_error("cannot make the recording: %s; the program runs unprofiled",
			     strerrordesc_np(-err));
		return;
	}
	if (options.unwinder == SP_UNWINDER_LIBUNWIND) {
		sp_capture.uses_libunwind = sp_unwind_libunwind_open() == 0;
		if (!sp_capture.uses_libunwind)
			sp_log_error("SPANPROF_UNWINDER: libunwind.so.8 is not "
				     "installed; walking by tables");
	}
	sp_log_verbose(
		"recording %s in %s; signal %d every %llu ns of a thread's CPU time, "
		"%u timers at most",
		program,
		sp_capture.recording.is_file ? sp_capture.recording.path : "memory",
		sp_signal_number(), (unsigned long long)sp_capture.period_ns,
		sp_capture.timers_max);
	sp_heap_init();
	sp_reporter_thread_prepare(&reporter_setup);
	sp_hooks_thread_init();
	sp_capture_set_state(SP_CAPTURE_RUNNING);
	adopt_thread((int)sp_syscall0(SYS_gettid), true);
	begin_spans();
	err = sp_reporter_thread_start(&reporter_setup);
	if (err)
		sp_log_error("cannot start the agent's thread: %s; samples are kept and "
			     "written "
			     "at the end if it can be started then",
			     strerrordesc_np(err));
	/* Before everything that the program registers: it runs last. */
	sp_process_end_register(write_at_end, END_TIMEOUT_NS);
	pthread_atfork(sp_heap_before_fork, sp_heap_after_fork_in_parent,
		       after_fork_in_child);
	sp_hooks_set_calls(&hook_calls);
}

void sp_agent_start(void)
{
	static _Atomic bool has_started;
	int saved_errno = errno;

	/* More rights than its caller: whoever set the environment must not steer it. */
	if (!atomic_exchange(&has_started, true) && !getauxval(AT_SECURE))
		start();
	errno = saved_errno;
}

__attribute__((constructor)) static void sp_agent_constructor(void)
{
	sp_agent_start();
}
