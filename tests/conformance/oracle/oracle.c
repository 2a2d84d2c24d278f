/*
 * liboracle.so: preloaded into an unmodified program, it stops every thread some
 * hundred times a second, walks its stack with our unwinder and with libunwind, and
 * writes at exit how often they agreed. A helper thread follows threads and
 * modules; the handler runs on the interrupted stack. A test instrument: unlike the
 * agent it may use the host's heap and interrupt sleeping threads.
 *
 * SP_ORACLE_OUT=PREFIX  reports go to PREFIX.<program>.<pid>
 */
#include "oracle_compare.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_modules.h"
#include "sp_syscall.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#define ORACLE_SIGNAL (SIGRTMAX - 2)
#define PERIOD_NS 900000
#define ROUND_NS 5000000
#define THREADS_MAX 512
#define MODULES_MAX 4096
/* A thread that used less CPU since its last sample has not moved. */
#define CPU_STEP_NS 100000
#define MAPS_BYTES 4096
#define STACK_MARGIN_BYTES 65536

struct watched {
	int tid;
	timer_t timer;
	bool is_seen;
};

static struct watched watched[THREADS_MAX];
static uint32_t watched_count;
static char module_paths[MODULES_MAX][SP_MODULE_PATH_BYTES];
static uint32_t module_count;
static struct sp_modules *modules;
static pthread_mutex_t modules_lock = PTHREAD_MUTEX_INITIALIZER;
static char report_path[4096];
static int helper_tid;
static atomic_bool is_module_missing;
static atomic_ullong stacks_unknown;

/* Where this thread's stack lies, found at its first sample. */
static SP_TLS struct sp_unwind_stack own_stack;
static SP_TLS uint64_t last_cpu_ns;

static const char *module_name(uint16_t module)
{
	return module && module <= module_count ? module_paths[module - 1] : "?";
}

static uint16_t announce(void *context, const struct sp_module_info *info)
{
	(void)context;
	if (module_count == MODULES_MAX)
		return 0;
	snprintf(module_paths[module_count], sizeof(module_paths[0]), "%s", info->path);
	return (uint16_t)++module_count;
}

static uint64_t hex_number(const char **text)
{
	uint64_t value = 0;

	for (;; (*text)++) {
		char c = **text;

		if (c >= '0' && c <= '9')
			value = value * 16 + (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (uint64_t)(c - 'a') + 10;
		else
			return value;
	}
}

/* The mapping that holds address, by reading the list of all of them. */
static bool find_mapping(uint64_t address, uint64_t *low, uint64_t *high)
{
	char buffer[MAPS_BYTES + 1];
	size_t filled = 0;
	bool is_found = false;
	long got, fd = sp_syscall3(SYS_open, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);

	while (fd >= 0 && !is_found &&
	       (got = sp_syscall3(SYS_read, fd, buffer + filled, MAPS_BYTES - filled)) >
		       0) {
		const char *line = buffer, *newline;

		filled += (size_t)got;
		buffer[filled] = '\0';
		while (!is_found && (newline = strchr(line, '\n'))) {
			const char *at = line;

			*low = hex_number(&at);
			at++;
			*high = hex_number(&at);
			is_found = address >= *low && address < *high;
			line = newline + 1;
		}
		filled -= (size_t)(line - buffer);
		memmove(buffer, line, filled);
	}
	if (fd >= 0)
		sp_syscall1(SYS_close, fd);
	return is_found;
}

static bool find_stack(uint64_t rsp)
{
	if (rsp >= own_stack.low && rsp < own_stack.high)
		return true;
	if (!find_mapping(rsp, &own_stack.low, &own_stack.high))
		return false;
	/* The main thread's grows downwards. */
	own_stack.low -= own_stack.low > STACK_MARGIN_BYTES ? STACK_MARGIN_BYTES : 0;
	return true;
}

static void on_signal(int number, siginfo_t *info, void *ucontext)
{
	const ucontext_t *context = ucontext;
	uint64_t rsp = (uint64_t)context->uc_mcontext.gregs[REG_RSP];
	uint64_t cpu_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	const struct sp_unwind_snapshot *snapshot = atomic_load(&sp_unwind_snapshot);
	struct sp_unwind_stack stack;
	int saved_errno = errno;

	(void)number;
	(void)info;
	if (!snapshot || cpu_ns - last_cpu_ns < CPU_STEP_NS)
		return;
	if (find_stack(rsp)) {
		stack = own_stack;
		stack.low = rsp - 128 > own_stack.low ? rsp - 128 : own_stack.low;
		sp_oracle_compare(snapshot, &stack, ucontext);
	} else {
		atomic_fetch_add(&stacks_unknown, 1);
	}
	atomic_store(&is_module_missing, true);
	/* Our own work is not the program's. */
	last_cpu_ns = sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	errno = saved_errno;
}

static void watch(int tid)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
				 .sigev_signo = ORACLE_SIGNAL};
	struct itimerspec period = {.it_interval = {.tv_nsec = PERIOD_NS},
				    .it_value = {.tv_nsec = PERIOD_NS}};
	struct watched *thread = &watched[watched_count];

	if (watched_count == THREADS_MAX)
		return;
	event._sigev_un._tid = tid;
	if (timer_create(CLOCK_MONOTONIC, &event, &thread->timer) != 0)
		return;
	timer_settime(thread->timer, 0, &period, NULL);
	thread->tid = tid;
	thread->is_seen = true;
	watched_count++;
}

static void see_thread(int tid)
{
	if (tid == helper_tid)
		return;
	for (uint32_t i = 0; i < watched_count; i++) {
		if (watched[i].tid == tid) {
			watched[i].is_seen = true;
			return;
		}
	}
	watch(tid);
}

static void list_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;

	if (!tasks)
		return;
	for (uint32_t i = 0; i < watched_count; i++)
		watched[i].is_seen = false;
	while ((entry = readdir(tasks)))
		if (atoi(entry->d_name) > 0)
			see_thread(atoi(entry->d_name));
	closedir(tasks);
	for (uint32_t i = 0; i < watched_count;) {
		if (watched[i].is_seen) {
			i++;
			continue;
		}
		timer_delete(watched[i].timer);
		watched[i] = watched[--watched_count];
	}
}

static void *help(void *unused)
{
	struct timespec round = {.tv_nsec = ROUND_NS};
	sigset_t all;

	(void)unused;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "oracle");
	helper_tid = gettid();
	for (;;) {
		list_threads();
		if (atomic_exchange(&is_module_missing, false)) {
			pthread_mutex_lock(&modules_lock);
			sp_modules_refresh(modules);
			pthread_mutex_unlock(&modules_lock);
		}
		nanosleep(&round, NULL);
	}
	return NULL;
}

static void start_helper(void)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_create(&thread, &attributes, help, NULL);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void name_report(void)
{
	const char *prefix = getenv("SP_ORACLE_OUT");

	snprintf(report_path, sizeof(report_path), "%s.%s.%d", prefix ? prefix : "oracle",
		 program_invocation_short_name, (int)getpid());
}

static void before_fork(void)
{
	pthread_mutex_lock(&modules_lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&modules_lock);
}

static void in_child(void)
{
	pthread_mutex_unlock(&modules_lock);
	watched_count = 0; /* timers are not inherited */
	sp_oracle_reset();
	name_report();
	start_helper();
}

__attribute__((constructor)) static void start(void)
{
	struct sigaction action = {.sa_sigaction = on_signal,
				   .sa_flags = SA_SIGINFO | SA_RESTART};
	uint64_t frames[8];
	ucontext_t here;

	if (sp_unwind_libunwind_open() != 0)
		return;
	/* libunwind sets itself up at its first walk. */
	getcontext(&here);
	sp_unwind_libunwind(NULL, &here, false, frames, 8);
	name_report();
	sp_unwind_cache_open();
	modules = sp_modules_create(announce, NULL);
	if (!modules)
		return;
	sp_modules_refresh(modules);
	sigaction(ORACLE_SIGNAL, &action, NULL);
	pthread_atfork(before_fork, in_parent, in_child);
	start_helper();
}

__attribute__((destructor)) static void finish(void)
{
	sigset_t oracle;
	int fd;

	sigemptyset(&oracle);
	sigaddset(&oracle, ORACLE_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &oracle, NULL);
	if (sp_oracle_samples() == 0)
		return;
	fd = open(report_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	dprintf(fd, "program %s\nstacks_unknown %llu\n", program_invocation_short_name,
		(unsigned long long)atomic_load(&stacks_unknown));
	sp_oracle_report(fd, module_name);
	close(fd);
}
