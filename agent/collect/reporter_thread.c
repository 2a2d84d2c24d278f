/*
 * Life of the reporter thread: begin the recording, rounds at a pace that follows the
 * program, requests in between. Its priority is the host's, it never holds the
 * host up but where the host ends and asks. Context: collector, but for the asking
 * side.
 */
#include "sp_reporter_thread.h"

#include "deferred_stack.h"
#include "event_reporters.h"
#include "own_rights.h"
#include "own_stack.h"
#include "own_thread.h"
#include "reporter_words.h"
#include "scan_pace.h"
#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_file_sink.h"
#include "sp_heap_capture.h"
#include "sp_held_signals.h"
#include "sp_log.h"
#include "sp_modules.h"
#include "sp_recording_writer.h"
#include "sp_syscall.h"
#include "span_reporters.h"
#include "stderr_copy.h"
#include "waiting.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#define PACE_FIRST_NS (SP_NS_PER_SECOND / 20)
#define PACE_BUSY_NS (SP_NS_PER_SECOND / 4)
#define PACE_IDLE_NS SP_NS_PER_SECOND
#define LOCK_SLICE_NS (SP_NS_PER_SECOND / 100)
/* It is a copy of what is in memory. */
#define PUT_BACK_NS_MAX (60 * SP_NS_PER_SECOND)
/* The demanglers recurse; address space only, the pages come when touched. */
#define STACK_BYTES ((size_t)1 << 20)

static struct {
	struct sp_reporter_setup setup;
	struct sp_collector collector;
	struct sp_write_summary written; /* of this process image */
	pthread_t thread;
	_Atomic uint32_t tid;
	/* What is wanted, a bit for each enum sp_reporter_request, is said before a
	 * ticket is drawn: whoever sees the ticket sees what it is for. Rights have
	 * a queue of their own: they are taken while we wait for the aggregates, too. */
	_Atomic uint32_t wanted;
	struct sp_ticket_queue requests, rights;
	/* Futexes: it has descriptors of its own; and the folder for its files, which may
	 * take long to open. */
	_Atomic uint32_t is_separate, is_placed;
	/* Whoever takes it back first: who wants the recording, or we. */
	_Atomic bool may_put_back;
	int out_dir_fd;
	bool has_told_anonymous, has_told_rights;
	bool had_no_handler; /* since what was replaced waits for walks */
} reporter;

/* --- the asking side --- */

bool sp_reporter_thread_ask(enum sp_reporter_request request, uint64_t timeout_ns)
{
	struct sp_ticket_queue *queue =
		request == SP_REQUEST_TAKE_RIGHTS ? &reporter.rights : &reporter.requests;
	uint32_t ticket;

	if ((uint32_t)sp_syscall0(SYS_gettid) ==
		    atomic_load_explicit(&reporter.tid, memory_order_relaxed) ||
	    !atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		return false;
	if (queue == &reporter.requests)
		atomic_fetch_or(&reporter.wanted, 1U << request);
	ticket = sp_ticket_draw(queue);
	sp_capture_wake_reporter();
	return sp_ticket_await(queue, ticket, timeout_ns);
}

/* On the one thread of the program's, or on ours while that waits. */
static void put_recording_back(unsigned int threads)
{
	struct sp_recording *recording = reporter.setup.recording;
	struct sp_recording_header *header = recording->header;

	if (!atomic_exchange(&reporter.may_put_back, false))
		return;
	atomic_store_explicit(&header->are_clocks_final, false, memory_order_relaxed);
	atomic_store_explicit(&header->state, SP_RECORDING_RUNNING, memory_order_relaxed);
	if (sp_own_thread_count_all() == threads)
		sp_recording_put_back(recording);
}

void sp_reporter_put_recording_back(uint64_t timeout_ns)
{
	atomic_store(&reporter.may_put_back, true);
	if (!atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		put_recording_back(1);
	else if (!sp_reporter_thread_ask(SP_REQUEST_GO_ON, timeout_ns) &&
		 !atomic_exchange(&reporter.may_put_back, false))
		/* It is at it: nobody may touch the recording before it is done. */
		sp_ticket_await(&reporter.requests,
				atomic_load(&reporter.requests.tickets), PUT_BACK_NS_MAX);
}

void sp_reporter_thread_await_place(uint64_t timeout_ns)
{
	sp_step_await(&reporter.is_placed, &sp_capture.has_reporter_thread, timeout_ns);
}

void sp_reporter_thread_lend_stderr(void)
{
	sp_stderr_copy_lend();
}

void sp_reporter_thread_take_stderr_back(uint64_t timeout_ns)
{
	/* Nobody waits for what was not lent. */
	if (sp_stderr_copy_lent() < 0)
		return;
	sp_step_await(&reporter.is_separate, &sp_capture.has_reporter_thread, timeout_ns);
	sp_stderr_copy_take_back();
}

/* The C library lets go of a thread before the kernel takes it off its lists. */
static void wait_until_gone(uint32_t tid)
{
	uint64_t deadline_ns = sp_clock_monotonic_ns() + SP_NS_PER_SECOND;
	uint32_t process = (uint32_t)sp_syscall0(SYS_getpid);

	while (sp_syscall3(SYS_tgkill, process, tid, 0) == 0 &&
	       sp_clock_monotonic_ns() < deadline_ns)
		sp_syscall0(SYS_sched_yield);
}

void sp_reporter_thread_join(void)
{
	uint32_t tid = atomic_load_explicit(&reporter.tid, memory_order_relaxed);

	pthread_join(reporter.thread, NULL);
	wait_until_gone(tid);
	atomic_store_explicit(&sp_capture.has_reporter_thread, false,
			      memory_order_relaxed);
}

static void forget_steps(void)
{
	atomic_store_explicit(&reporter.is_separate, 0, memory_order_relaxed);
	atomic_store_explicit(&reporter.is_placed, 0, memory_order_relaxed);
}

void sp_reporter_thread_forked(void)
{
	atomic_store_explicit(&sp_capture.has_reporter_thread, false,
			      memory_order_relaxed);
	atomic_store_explicit(&sp_capture.wake, 0, memory_order_relaxed);
	sp_ticket_forget(&reporter.requests);
	sp_ticket_forget(&reporter.rights);
	atomic_store_explicit(&reporter.tid, 0, memory_order_relaxed);
	atomic_store_explicit(&reporter.wanted, 0, memory_order_relaxed);
	forget_steps();
	if (reporter.setup.absorber)
		sp_span_reporters_forget(reporter.setup.absorber);
	memset(&reporter.collector, 0, sizeof(reporter.collector));
	memset(&reporter.written, 0, sizeof(reporter.written));
}

/* --- the thread --- */

static uint16_t announce_module(void *context, const struct sp_module_info *info)
{
	struct sp_module_record record = {
		.base = info->base,
		.text_start = info->text_start,
		.text_end = info->text_end,
		.text_file_offset = info->text_file_offset,
		.build_id_bytes = info->build_id_bytes,
		.fingerprint = info->fingerprint,
		.flags = (info->is_main ? SP_MODULE_FLAG_MAIN : 0) |
			 (info->is_agent ? SP_MODULE_FLAG_AGENT : 0) |
			 (strcmp(info->path, "[vdso]") == 0 ? SP_MODULE_FLAG_VDSO : 0),
	};

	memcpy(record.build_id, info->build_id, sizeof(record.build_id));
	return sp_recording_add_module(context, &record, info->path);
}

static void refresh_modules(void)
{
	uint32_t left_out;

	/* Also where there is none: then nothing is asked for any more. */
	sp_scan_begin();
	if (reporter.collector.modules)
		sp_modules_refresh(reporter.collector.modules);
	sp_scan_end();
	if (!reporter.collector.modules)
		return;
	left_out = sp_modules_take_left_out(reporter.collector.modules);
	if (left_out)
		sp_recording_count(reporter.collector.recording, SP_LOSS_NO_MODULE_ID,
				   left_out);
	reporter.setup.calls->modules_told();
}

static void take_setup(const struct sp_reporter_setup *setup)
{
	struct sp_collector *collector = &reporter.collector;

	reporter.setup = *setup;
	collector->recording = setup->recording;
	collector->absorber = setup->absorber;
	collector->options = setup->options;
	collector->calls = setup->calls;
}

/* Takes 20 KiB of stack, which a thread of the program may not have. */
static void look_at_modules(void)
{
	struct sp_collector *collector = &reporter.collector;

	if (!collector->modules) {
		collector->modules =
			sp_modules_create(announce_module, collector->recording);
		if (collector->modules)
			sp_modules_set_loaded(collector->modules,
					      collector->calls->module_loaded);
		refresh_modules();
	}
	/* Stacks that were put off are finished by who knows the modules. */
	collector->absorber->finish_stack = sp_deferred_stack_finish;
}

bool sp_reporter_thread_check(const char *reporters, char *error, size_t error_bytes)
{
	return sp_reporter_list_check(reporters, error, error_bytes);
}

void sp_reporter_thread_prepare(const struct sp_reporter_setup *setup)
{
	take_setup(setup);
	look_at_modules();
}

/* Also while we wait for the aggregates: a program that gives up rights waits for it. But
 * never on a thread of the program's, which has its own. */
static void serve_rights(void)
{
	uint32_t tickets = atomic_load(&reporter.rights.tickets);
	int err;

	if (!reporter.collector.own_tid ||
	    tickets ==
		    atomic_load_explicit(&reporter.rights.served, memory_order_relaxed))
		return;
	err = sp_own_rights_take();
	if (err && !reporter.has_told_rights) {
		reporter.has_told_rights = true;
		sp_log_error(
			"the profiler's thread cannot give up what rights the program "
			"gave up: %s",
			strerrordesc_np(-err));
	}
	sp_ticket_serve(&reporter.rights, tickets);
}

/*
 * A profile is made in several passes over the aggregates, which must not change
 * meanwhile. Whoever kept the last round from them, for as long, is not waited for
 * again.
 */
static bool keep_handlers_from_draining(void)
{
	uint64_t deadline_ns = sp_clock_monotonic_ns();
	uint32_t tid = (uint32_t)sp_syscall0(SYS_gettid);
	bool is_locked;

	if (!reporter.collector.was_kept_out)
		deadline_ns += SP_NS_PER_SECOND;
	do {
		serve_rights();
		is_locked = sp_absorber_lock_within(reporter.setup.absorber, tid,
						    LOCK_SLICE_NS);
	} while (!is_locked && sp_clock_monotonic_ns() < deadline_ns);
	return is_locked;
}

static void begin_event_reporters(void)
{
	struct sp_collector *collector = &reporter.collector;

	if (collector->reporters) {
		sp_span_reporters_move_to(collector->reporters,
					  (uint32_t)sp_syscall0(SYS_gettid));
		return;
	}
	if (!keep_handlers_from_draining()) {
		sp_span_reporters_forget(collector->absorber);
		return;
	}
	sp_event_reporters_begin(collector, reporter.setup.program, reporter.out_dir_fd);
	sp_absorber_unlock(collector->absorber);
}

static void end_event_reporters(void)
{
	struct sp_collector *collector = &reporter.collector;

	if (!collector->reporters || !keep_handlers_from_draining())
		return;
	sp_event_reporters_end(collector);
	sp_absorber_unlock(collector->absorber);
}

static void begin(void)
{
	struct sp_collector *collector = &reporter.collector;

	serve_rights();
	sp_collector_keep_ahead(collector);
	look_at_modules();
	begin_event_reporters();
	if (!collector->recording->is_file && !reporter.has_told_anonymous) {
		reporter.has_told_anonymous = true;
		sp_reporter_tell_no_place(&reporter.setup);
	}
}

static unsigned int wishes(bool is_end)
{
	const struct sp_options *options = reporter.setup.options;

	return is_end && options->wants_leaks ? SP_WRITE_LEAKS : 0;
}

static void write_profiles(bool is_end)
{
	struct sp_write_summary *summary = &reporter.written;
	struct sp_recording *recording = reporter.setup.recording;

	if (atomic_load_explicit(&sp_capture.wants_modules, memory_order_relaxed))
		refresh_modules();
	sp_collector_round(&reporter.collector, true);
	summary->error = reporter.out_dir_fd >= 0
				 ? 0
				 : sp_directory_open(reporter.setup.options->out_dir,
						     &reporter.out_dir_fd);
	if (!summary->error) {
		bool is_locked = keep_handlers_from_draining();

		if (sp_event_reporters_leave_profiles(reporter.setup.options))
			sp_collector_write(recording, reporter.out_dir_fd, wishes(is_end),
					   summary);
		if (is_locked)
			sp_absorber_unlock(reporter.setup.absorber);
	}
	if (!is_end)
		return;
	if (sp_event_reporters_leave_profiles(reporter.setup.options) || summary->error)
		sp_reporter_tell_end(&reporter.setup, summary);
	if (!sp_write_summary_error(summary)) {
		atomic_store_explicit(&recording->header->state, SP_RECORDING_ENDED,
				      memory_order_relaxed);
		sp_reporter_tell_left(&reporter.setup, sp_recording_remove(recording));
	}
}

#define ANY_WRITE                                                                        \
	(1U << SP_REQUEST_WRITE | 1U << SP_REQUEST_WRITE_END |                           \
	 1U << SP_REQUEST_WRITE_CONFINED)

/* True when the thread is to end. */
static bool serve_requests(void)
{
	uint32_t tickets = atomic_load(&reporter.requests.tickets);
	uint32_t wanted;

	if (tickets ==
	    atomic_load_explicit(&reporter.requests.served, memory_order_relaxed))
		return false;
	wanted = atomic_exchange(&reporter.wanted, 0);
	if (wanted & ANY_WRITE)
		write_profiles(wanted & ~(1U << SP_REQUEST_WRITE) & ANY_WRITE);
	if (wanted & 1U << SP_REQUEST_WRITE_CONFINED) {
		end_event_reporters();
		sp_log_note("the program gives up system calls that the agent needs: "
			    "what follows is not profiled");
	}
	if (wanted & 1U << SP_REQUEST_GO_ON)
		put_recording_back(2);
	if (wanted & 1U << SP_REQUEST_STOP) {
		reporter.collector.agent_cpu_before_ns +=
			sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
		sp_own_thread_unhide();
	}
	sp_ticket_serve(&reporter.requests, tickets);
	return wanted & 1U << SP_REQUEST_STOP;
}

/* Rounds come soon after work and ever later without; whoever has something urgent
 * wakes us. */
static uint64_t next_pace_ns(uint64_t pace_ns, bool has_worked)
{
	uint64_t most_ns =
		has_worked ? sp_collector_pace_ns(&reporter.collector) : PACE_IDLE_NS;

	return pace_ns * 2 < most_ns ? pace_ns * 2 : most_ns;
}

/* All threads of the process have passed a memory barrier. */
static bool pass_barrier(void)
{
	if (sp_syscall3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
		return true;
	/* The kernel wants to be told first, which takes it more than 10 ms in a process
	 * of several threads: too long for a program that only starts and ends. */
	sp_syscall3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	return sp_syscall3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/*
 * What handlers and heap hooks no longer look at. Hooks say that they are at it by a
 * plain store, so that samples stay cheap; a barrier in all threads makes it seen, or
 * makes them see the snapshot that replaced the old one.
 */
static void reclaim_modules(void)
{
	struct sp_modules *modules = reporter.collector.modules;

	if (!modules || !sp_modules_has_retired(modules) || !pass_barrier())
		return;
	if (sp_modules_await_walks(modules)) {
		reporter.had_no_handler = false;
		sp_heap_capture_watch_begin();
	}
	reporter.had_no_handler |= atomic_load(&sp_capture.handlers_running) == 0;
	/* Both are looked at, each time. */
	if (sp_heap_capture_was_idle() && reporter.had_no_handler)
		sp_modules_reclaim(modules);
}

/* Nobody waits for us. The process ends with what its last thread says. */
static void end_with_program(int status)
{
	write_profiles(true);
	sp_syscall1(SYS_exit, status);
}

static bool is_relative(const char *path)
{
	return *path != '\0' && *path != '/';
}

/* What is opened later goes by whole paths, or else by the folder that we keep. */
static void open_out_directory(void)
{
	const char *path = reporter.setup.options->out_dir;

	reporter.out_dir_fd = -1;
	if (sp_directory_open(path, &reporter.out_dir_fd) == 0 && !is_relative(path) &&
	    !is_relative(reporter.setup.recording->path))
		sp_own_thread_leave_folder();
}

/* False when that time is over, and nobody has woken us. */
static bool await_work(uint64_t pace_ns)
{
	uint64_t end_ns = sp_clock_monotonic_ns() + pace_ns;

	for (;;) {
		uint64_t now_ns;

		sp_stderr_copy_look();
		now_ns = sp_clock_monotonic_ns();
		if (now_ns >= end_ns)
			return false;
		if (sp_futex_wait(&sp_capture.wake, 0,
				  sp_stderr_copy_wait_ns(end_ns - now_ns)) != -ETIMEDOUT)
			return true;
	}
}

static void *run(void *argument)
{
	uint64_t pace_ns = PACE_FIRST_NS;
	int process = (int)sp_syscall0(SYS_getpid);

	(void)argument;
	sp_own_thread_separate();
	sp_step_tell(&reporter.is_separate);
	sp_heap_thread_set_own(true);
	prctl(PR_SET_NAME, "spanprof");
	atomic_store_explicit(&reporter.tid, (uint32_t)sp_syscall0(SYS_gettid),
			      memory_order_relaxed);
	reporter.collector.own_tid = (int)sp_syscall0(SYS_gettid);
	/* Now, before the program changes its user or its root. */
	open_out_directory();
	sp_step_tell(&reporter.is_placed);
	begin();
	for (;;) {
		uint64_t pace_max_ns;
		bool has_worked;
		int status;

		atomic_store(&sp_capture.wake, 0);
		serve_rights();
		if (reporter.setup.calls->wants_modules() || sp_scan_is_due())
			refresh_modules();
		has_worked = sp_collector_round(&reporter.collector, false) != 0;
		reclaim_modules();
		if (serve_requests())
			return NULL;
		if (!has_worked && sp_own_thread_is_last(process, &status))
			end_with_program(status);
		pace_max_ns = sp_collector_pace_max_ns(&reporter.collector);
		if (pace_ns > pace_max_ns)
			pace_ns = pace_max_ns;
		if (!await_work(sp_scan_wait_ns(pace_ns)))
			pace_ns = next_pace_ns(pace_ns, has_worked);
		else
			pace_ns = PACE_BUSY_NS;
	}
}

/* --- without the thread --- */

static void write_here(void)
{
	reporter.collector.own_tid = 0;
	reporter.out_dir_fd = -1;
	sp_reporter_thread_prepare(&reporter.setup);
	sp_directory_open(reporter.setup.options->out_dir, &reporter.out_dir_fd);
	begin_event_reporters();
	write_profiles(true);
	/* Not in the handler that drains, if the program goes on after all. */
	if (reporter.collector.reporters)
		sp_span_reporters_move_to(reporter.collector.reporters, SP_NO_THREAD);
	if (reporter.out_dir_fd >= 0)
		sp_syscall1(SYS_close, reporter.out_dir_fd);
}

void sp_reporter_write_here(const struct sp_reporter_setup *setup)
{
	static _Atomic bool is_busy;
	/* Before it is said that we are at it: a handler that ends the process would
	 * find us so for ever. */
	uint64_t mask = sp_signals_hold();

	if (!atomic_exchange(&is_busy, true)) {
		reporter.setup = *setup;
		if (!sp_own_stack_call(write_here, STACK_BYTES))
			sp_reporter_tell_no_stack(setup);
		atomic_store(&is_busy, false);
	}
	sp_signals_release(mask);
}

int sp_reporter_thread_start(const struct sp_reporter_setup *setup)
{
	bool was_single = sp_own_thread_before_create();
	pthread_attr_t attributes;
	sigset_t all, before;
	int err = pthread_attr_init(&attributes);

	if (err)
		return err;
	take_setup(setup);
	sp_event_reporters_await(&reporter.collector);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	sigfillset(&all);
	/* The C library keeps the two signals it needs out of the set. */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	forget_steps();
	atomic_store_explicit(&sp_capture.has_reporter_thread, true,
			      memory_order_relaxed);
	/* The C library allocates for a thread what we want no profile to show. */
	sp_heap_thread_set_own(true);
	err = setup->create_thread(&reporter.thread, &attributes, run, NULL);
	sp_heap_thread_set_own(false);
	if (err) {
		atomic_store_explicit(&sp_capture.has_reporter_thread, false,
				      memory_order_relaxed);
		if (!reporter.collector.reporters)
			sp_span_reporters_forget(setup->absorber);
	} else {
		sp_own_thread_hide(was_single);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return err;
}
