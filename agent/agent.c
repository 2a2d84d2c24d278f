/*
 * Start of the agent inside a host. Everything is wired here: the parts know each other
 * by the calls that this file hands them; what follows is in fork_child.c,
 * thread_adoption.c, hook_calls.c and process_end.c. It never fails the host: whatever
 * goes wrong is told once, and the program runs on unprofiled.
 */
#include "agent.h"
#include "fork_child.h"
#include "heap_jemalloc.h"
#include "hook_calls.h"
#include "libc_calls.h"
#include "own_recording.h"
#include "process_end.h"
#include "sp_alloc_aside.h"
#include "sp_alloc_extended.h"
#include "sp_alloc_family.h"
#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_collector.h"
#include "sp_cpu_timer.h"
#include "sp_heap_capture.h"
#include "sp_hooks.h"
#include "sp_log.h"
#include "sp_next.h"
#include "sp_pages.h"
#include "sp_process_identity.h"
#include "sp_signal.h"
#include "sp_span_capture.h"
#include "sp_spans.h"
#include "sp_syscall.h"
#include "sp_text.h"
#include "start_options.h"
#include "thread_adoption.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

/*
 * The kernel's clocks go on across exec. What they show when our constructor runs is the
 * loader's work or else an earlier image's as well, whose time is not this program's.
 * The loader takes 1 to 3 us for each page that it touches, from the smallest program to
 * those of a hundred libraries: what is far more than that is not all its own.
 */
#define LOADER_CPU_NS_PER_PAGE UINT64_C(8000)
#define LOADER_CPU_NS_MAX UINT64_C(20000000)

extern char **environ;

struct sp_agent sp_agent;

static bool are_spans_on;
/* What SPANPROF_SPANS says but for its own words: patterns of functions. */
static char span_functions[sizeof(sp_agent.options.spans)];

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

static void redirect_own_calls(void)
{
	struct sp_got_result result = {0};

	sp_alloc_leave_own_calls(&result);
	if (result.failed)
		sp_log_error("heap profile: %u calls that the program's allocator makes "
			     "of itself could not be redirected and are counted, too",
			     result.failed);
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
	bool has_news = sp_alloc_extended_has_news();

	sp_alloc_settle();
	return sp_spans_want_modules() || has_news;
}

static void verify_signal(void)
{
	sp_signal_verify();
}

static void begin_spans(char *const *environment)
{
	const struct sp_spans_setup setup = {
		.sources = sp_agent.options.span_sources,
		.functions = span_functions,
		.labels = sp_agent.options.span_labels,
		.environment = environment,
	};

	/* In a child that is cut off they are not yet. */
	if (are_spans_on && sp_span_is_on())
		sp_spans_begin(&setup);
}

void sp_agent_begin_spans(void)
{
	/* Its environment may be half changed. */
	begin_spans(NULL);
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
	/* Without a heap profile allocations are counted from the first span on. */
	const struct sp_heap_settings settings = {
		.rate_bytes = sp_agent.options.is_heap_enabled
				      ? sp_agent.options.heap_rate_bytes
				      : 0,
		.seed = sp_agent.options.heap_seed,
	};
	struct sp_got_result result = {0};

	if (sp_heap_capture_init(&settings) != 0) {
		sp_log_error("no memory for the heap profile: there will be none");
		return;
	}
	redirect_own_calls();
	if (!sp_agent.options.is_heap_enabled)
		return;
	sp_agent.heap_coverage = sp_alloc_coverage();
	/* All of the allocator's functions are hooked, or none. */
	if (sp_agent.heap_coverage == SP_HEAP_PROGRAM_HAS_OWN ||
	    sp_agent.heap_coverage == SP_HEAP_LIBRARY_FIRST)
		return;
	sp_alloc_extended_start(&result);
	tell_unpatched(&result);
}

static void prepare_spans(void)
{
	const struct sp_span_settings settings = {
		.has_exact_cpu = sp_agent.options.span_cpu == SP_SPAN_CPU_EXACT &&
				 sp_agent.options.track_cpu != SP_SWITCH_NO,
		.has_ids = sp_options_list_has(sp_agent.options.spans, "id"),
		.has_allocations = sp_agent.options.track_allocations != SP_SWITCH_NO,
		.probability_millionths = sp_agent.options.span_probability_millionths,
		.seed = sp_agent.options.span_seed,
		.labels = sp_agent.options.span_labels,
	};

	are_spans_on = !sp_options_list_has(sp_agent.options.spans, "off");
	if (!are_spans_on)
		return;
	memcpy(span_functions, sp_agent.options.spans, sizeof(span_functions));
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
	sp_unwind_cache_open();
	sp_capture.period_ns = sp_agent.options.is_cpu_enabled
				       ? SP_NS_PER_SECOND / sp_agent.options.cpu_hz
				       : 0;
	/* One frame is for what a cut stack ends in. */
	sp_capture.depth_frames_max =
		sp_agent.options.depth_frames_max < SP_STACK_FRAMES_MAX
			? sp_agent.options.depth_frames_max
			: SP_STACK_FRAMES_MAX - 1;
	sp_capture.timers_max = timers_allowed();
	sp_capture.drain = sp_own_recording_drain;
	sp_capture.note = sp_own_recording_note;
	sp_capture.begin_in_child = sp_fork_child_begin;
	sp_capture.bring_hooks_back = sp_alloc_come_back;
	sp_capture.goes_on = sp_agent_hook_calls.goes_on;
	sp_capture.begin_spans = sp_agent_begin_spans;
	atomic_store_explicit(&sp_capture.process_id, (uint32_t)sp_syscall0(SYS_getpid),
			      memory_order_relaxed);
	return true;
}

static uint64_t loader_cpu_ns_max(void)
{
	char text[128], *resident;
	uint64_t cpu_ns;

	/* "1470 281 ...": all pages, and those that are there. */
	sp_process_read_file("/proc/self/statm", text, sizeof(text));
	resident = strchr(text, ' ');
	if (!resident)
		return LOADER_CPU_NS_MAX;
	cpu_ns = strtoull(resident, NULL, 10) * LOADER_CPU_NS_PER_PAGE;
	return cpu_ns < LOADER_CPU_NS_MAX ? cpu_ns : LOADER_CPU_NS_MAX;
}

static void note_earlier_cpu(void)
{
	sp_cpu_usage_read(&sp_agent.earlier);
	if (sp_agent.earlier.cpu_ns <= loader_cpu_ns_max())
		memset(&sp_agent.earlier, 0, sizeof(sp_agent.earlier));
	else
		sp_agent.earlier_thread_cpu_ns =
			sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* We take some 2 MiB of it, which are to be no more than a quarter. */
#define DATA_LIMIT_BYTES_MIN (UINT64_C(8) << 20)

static bool is_data_scarce(void)
{
	struct rlimit limit;

	if (sp_syscall4(SYS_prlimit64, 0, RLIMIT_DATA, NULL, &limit) < 0 ||
	    limit.rlim_cur >= DATA_LIMIT_BYTES_MIN)
		return false;
	sp_log_error("the program may have no more than %llu KiB of data (ulimit -d): it "
		     "has them for itself and runs unprofiled",
		     (unsigned long long)limit.rlim_cur >> 10);
	return true;
}

static void note_runtime_dir(void)
{
	const char *directory = secure_getenv("XDG_RUNTIME_DIR");

	if (directory && strlen(directory) < sizeof(sp_agent.runtime_dir))
		strcpy(sp_agent.runtime_dir, directory);
}

static int make_recording(void)
{
	const struct sp_options *options = &sp_agent.options;
	int err;

	note_runtime_dir();
	sp_collector_make_places(options);
	err = sp_own_recording_make();
	if (!err && sp_capture.recording.is_file && sp_capture.recording.wanted_error)
		sp_log_error("cannot use recording-dir %s: %s; the recording is in %s",
			     options->recording_dir,
			     strerrordesc_np(-sp_capture.recording.wanted_error),
			     options->out_dir);
	return err;
}

static void open_unwinder(void)
{
	if (sp_agent.options.unwinder != SP_UNWINDER_LIBUNWIND)
		return;
	sp_capture.uses_libunwind = sp_unwind_libunwind_open() == 0;
	if (!sp_capture.uses_libunwind)
		sp_log_error("SPANPROF_UNWINDER: libunwind.so.8 is not installed; "
			     "walking by tables");
}

/* The program may begin by opening data in place of its standard error. */
#define TAKE_OVER_NS_MAX UINT64_C(5000000)

static void start(void)
{
	static const struct sp_collector_calls collector_calls = {
		.adopt_thread = sp_thread_adoption_begin,
		.end_thread = sp_thread_adoption_end,
		.threads_listed = sp_heap_strays_end_vanished,
		.verify_signal = verify_signal,
		.module_loaded = module_loaded,
		.wants_modules = wants_modules,
		.modules_told = sp_spans_modules_told,
		.say_unmet_spans = sp_spans_say_unmet,
	};
	int err;

	sp_agent.program = sp_text_base_name((const char *)getauxval(AT_EXECFN));
	if (!sp_start_options_read() || is_data_scarce() || !prepare_capture())
		return;
	sp_clock_init((sp_clock_function *)sp_next_find_in_vdso("__vdso_clock_gettime"));
	prepare_heap();
	prepare_spans();
	note_earlier_cpu();
	sp_agent.reporter_setup = (struct sp_reporter_setup){
		.options = &sp_agent.options,
		.program = sp_agent.program,
		.calls = &collector_calls,
		.recording = &sp_capture.recording,
		.absorber = &sp_agent.absorber,
		.create_thread = sp_hooks_create_own_thread,
	};
	err = sp_signal_choose(sp_agent.options.signal_number);
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
	open_unwinder();
	sp_log_verbose(
		"recording %s in %s; signal %d every %llu ns of a thread's CPU time, "
		"%u timers at most",
		sp_agent.program,
		sp_capture.recording.is_file ? sp_capture.recording.path : "memory",
		sp_signal_number(), (unsigned long long)sp_capture.period_ns,
		sp_capture.timers_max);
	sp_heap_init();
	sp_reporter_thread_prepare(&sp_agent.reporter_setup);
	sp_hooks_thread_init();
	sp_capture_set_state(SP_CAPTURE_RUNNING);
	sp_thread_adoption_begin((int)sp_syscall0(SYS_gettid), true);
	begin_spans(environ);
	sp_reporter_thread_lend_stderr();
	err = sp_reporter_thread_start(&sp_agent.reporter_setup);
	if (err)
		sp_log_error("cannot start the agent's thread: %s; samples are kept, "
			     "and written at the end if it can be started then",
			     strerrordesc_np(err));
	/* Before everything that the program registers: it runs last. */
	sp_process_end_register(sp_hook_calls_write_at_end, SP_AGENT_END_TIMEOUT_NS);
	pthread_atfork(sp_heap_before_fork, sp_heap_after_fork_in_parent,
		       sp_fork_child_note);
	sp_hooks_set_calls(&sp_agent_hook_calls);
	if (sp_heap_passes_through()) {
		sp_alloc_stand_aside();
		if (!sp_heap_passes_through())
			sp_alloc_come_back();
	}
	sp_reporter_thread_take_stderr_back(TAKE_OVER_NS_MAX);
}

void sp_agent_start(void)
{
	static _Atomic bool has_started;
	int saved_errno = errno;

	sp_libc_calls_bind();
	/* More rights than its caller: whoever set the environment must not steer it. */
	if (!atomic_exchange(&has_started, true) && !getauxval(AT_SECURE))
		start();
	sp_heap_capture_end_early();
	errno = saved_errno;
}

__attribute__((constructor)) static void sp_agent_constructor(void)
{
	sp_agent_start();
}
