/*
 * ends MODE [CPU_MS]: burns in main and in a second thread that is still at work
 * when the process ends in the named way. Where it is killed, a timer of its own tells
 * until when the kernel's ticks have met main.
 */
#include "burn.h"
#include "own_timer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* It is on, however the tests are built. */
#undef NDEBUG
#include <assert.h>

#define EXITING_THREADS 4

static int64_t cpu_ns;
static const char *mode;

NOINLINE void at_exit_work(void);
NOINLINE void destructor_work(void);
NOINLINE void last_thread_work(void);
NOINLINE void main_work(void);

void at_exit_work(void)
{
	burn_here(cpu_ns);
}

void destructor_work(void)
{
	burn_here(cpu_ns);
}

static char profile[4096];

static void name_profile(void)
{
	snprintf(profile, sizeof(profile), "%s/ends.%d.cpu.pb.gz", getenv("SPANPROF_OUT"),
		 (int)getpid());
}

static void on_signal(int signal)
{
	const char *moment = access(profile, F_OK) == 0 ? "after" : "before";

	(void)signal;
	(void)!write(STDOUT_FILENO, moment, strlen(moment));
}

/* Whether the parent's only other thread than the agent's is in that system call. */
static int is_parent_in(long call)
{
	char path[64];
	long found = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)getppid());
	file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%ld", &found) != 1)
		found = -1;
	if (file != NULL)
		fclose(file);
	return found == call;
}

/* From a child, once this process waits for the agent to write that profile. */
static void send_signal_while_waiting(void)
{
	pid_t parent = getpid();

	name_profile();
	signal(SIGUSR1, on_signal);
	if (fork() != 0) {
		/* Until it looks. */
		usleep(50000);
		return;
	}
	while (getppid() == parent && !is_parent_in(SYS_futex))
		;
	kill(parent, SIGUSR1);
	_exit(0);
}

__attribute__((destructor)) static void at_unload(void)
{
	if (mode != NULL && strcmp(mode, "destructor") == 0)
		destructor_work();
}

void last_thread_work(void)
{
	burn_here(cpu_ns);
}

void main_work(void)
{
	burn_here(cpu_ns);
}

static void *worker(void *unused)
{
	for (;;)
		burn(cpu_ns);
	return unused;
}

static void *last_thread(void *unused)
{
	last_thread_work();
	return unused;
}

static void *exiting_thread(void *unused)
{
	last_thread_work();
	exit(5);
	return unused;
}

/* All at the same moment. */
static pthread_barrier_t all_exit;

static void *thread_of_many_exits(void *unused)
{
	pthread_barrier_wait(&all_exit);
	if (strcmp(mode, "quick_exit_in_all_threads") == 0)
		quick_exit(5);
	exit(5);
	return unused;
}

static void start(void *(*entry)(void *))
{
	pthread_t id;

	if (pthread_create(&id, NULL, entry, NULL) != 0)
		_exit(3);
}

static void exit_in_all_threads(void)
{
	pthread_barrier_init(&all_exit, NULL, EXITING_THREADS + 1);
	for (int i = 0; i < EXITING_THREADS; i++)
		start(thread_of_many_exits);
	thread_of_many_exits(NULL);
}

/* It can be executed, by its mode. */
static void exec_no_program(void)
{
	int fd = open("no_program", O_WRONLY | O_CREAT | O_CLOEXEC, 0700);

	if (fd < 0 || write(fd, "nothing", 7) != 7)
		_exit(3);
	close(fd);
	execl("./no_program", "no_program", NULL);
}

static sigjmp_buf before_end;

static void leave_abort(int signal)
{
	(void)signal;
	siglongjmp(before_end, 1);
}

static void abort_in_vain(void)
{
	signal(SIGABRT, leave_abort);
	if (sigsetjmp(before_end, 1) == 0)
		abort();
}

static void leave_exit(int signal)
{
	(void)signal;
	if (access(profile, F_OK) == 0)
		siglongjmp(before_end, 1);
}

/* By a signal that came while the profile was written, if one did. */
static void exit_in_vain(void)
{
	const struct itimerval often = {{0, 100}, {0, 100}}, never = {0};

	name_profile();
	signal(SIGALRM, leave_exit);
	setitimer(ITIMER_REAL, &often, NULL);
	if (sigsetjmp(before_end, 1) == 0)
		exit(6);
	setitimer(ITIMER_REAL, &never, NULL);
}

static int is(const char *name)
{
	return strcmp(mode, name) == 0;
}

int main(int argc, char **argv)
{
	mode = argc > 1 ? argv[1] : "return";
	cpu_ns = number_argument(argc, argv, 2, 300) * NS_PER_MS;
	if (is("atexit"))
		atexit(at_exit_work);
	if (is("at_quick_exit"))
		at_quick_exit(at_exit_work);
	if (is("signal_at_exit"))
		atexit(send_signal_while_waiting);
	if (is("pthread_exit"))
		start(last_thread);
	else if (!is("exit_in_thread") && !is("signal_at_exit") && !is("exec_in_vain") &&
		 !is("abort_in_vain") && !is("exit_in_vain"))
		start(worker);
	if (strncmp(mode, "raise_", 6) == 0 || is("raw_exit_group") ||
	    is("wait_for_signal"))
		own_timer_start(NS_PER_MS);
	main_work();
	printf("ending\n");
	fflush(stdout);

	if (is("exit_in_thread"))
		start(exiting_thread);
	if (is("return") || is("atexit") || is("destructor") || is("signal_at_exit"))
		return 5;
	if (is("exit"))
		exit(5);
	if (is("exit_in_all_threads") || is("quick_exit_in_all_threads"))
		exit_in_all_threads();
	if (is("_exit"))
		_exit(5);
	if (is("_Exit"))
		_Exit(5);
	if (is("raw_exit_group"))
		syscall(SYS_exit_group, 5);
	if (is("quick_exit") || is("at_quick_exit"))
		quick_exit(5);
	if (is("abort"))
		abort();
	if (is("assert"))
		assert(mode == NULL);
	if (is("assert_perror"))
		assert_perror(ENOENT);
	if (is("pthread_exit"))
		pthread_exit(NULL);
	if (is("raise_kill"))
		raise(SIGKILL);
	if (is("raise_term"))
		raise(SIGTERM);
	if (is("raise_segv"))
		raise(SIGSEGV);
	if (is("exec")) {
		char self[4096] = "";

		/* By its name, not by that of /proc: profiles are named after it. */
		if (readlink("/proc/self/exe", self, sizeof(self) - 1) > 0)
			execl(self, argv[0], "return", argc > 2 ? argv[2] : "300", NULL);
		_exit(6);
	}
	if (is("exec_in_vain") || is("abort_in_vain")) {
		if (is("exec_in_vain"))
			exec_no_program();
		else
			abort_in_vain();
		main_work();
		raise(SIGKILL);
	}
	if (is("exit_in_vain")) {
		exit_in_vain();
		main_work();
		return 5;
	}
	if (is("exec_fails")) {
		execl("/nonexistent/program", "program", NULL);
		main_work();
		return 5;
	}
	/* exit_in_thread, wait_for_signal */
	for (;;)
		pause();
}
