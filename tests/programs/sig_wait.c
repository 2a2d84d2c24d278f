/* Waits for every signal there is, by every call that does. */
#include "burn.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/time.h>

/* A busy machine's tick may find us running now and then only. */
#define TICKS_WANTED 5
#define TICKS_CPU_NS_MIN (200 * NS_PER_MS)
#define TICKS_CPU_NS_MAX (20000 * NS_PER_MS)

static volatile sig_atomic_t profile_ticks;

static void count(int signo)
{
	profile_ticks += signo == SIGPROF;
}

static void queue_all(void)
{
	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
		sigqueue(getpid(), signo, (union sigval){.sival_int = signo + 1000});
}

static void show_pending(void)
{
	sigset_t pending;

	sigpending(&pending);
	printf("pending %016lx\n", *(unsigned long *)&pending);
}

static void wait_for_all(const sigset_t *set)
{
	struct timespec at_once = {0, 20 * NS_PER_MS};
	siginfo_t info;
	int signo;

	queue_all();
	show_pending();
	burn(30 * NS_PER_MS);
	while ((signo = sigtimedwait(set, &info, &at_once)) > 0)
		printf("%d,%d,%d ", signo, info.si_code, info.si_value.sival_int);
	printf("\nend %d errno %d\n", signo, errno);
	show_pending();

	queue_all();
	burn(30 * NS_PER_MS);
	for (int left = SIGRTMAX - SIGRTMIN + 1; left > 0; left--) {
		if (left % 2 != 0)
			printf("%d ", sigwaitinfo(set, &info));
		else
			printf("%d,%d ", sigwait(set, &signo), signo);
	}
	printf("\n");
}

static void read_all(const sigset_t *set)
{
	struct signalfd_siginfo info;
	int fd = signalfd(-1, set, SFD_NONBLOCK);

	queue_all();
	burn(30 * NS_PER_MS);
	while (read(fd, &info, sizeof(info)) == sizeof(info))
		printf("%u,%d ", info.ssi_signo, info.ssi_int);
	printf("errno %d\n", errno);
	close(fd);
}

/* Calls that swap the mask while they wait: nothing wakes them before their time. */
static void sleep_with(const sigset_t *mask)
{
	struct timespec wait = {0, 10 * NS_PER_MS};

	printf("ppoll %d", ppoll(NULL, 0, &wait, mask));
	printf(" pselect %d", pselect(0, NULL, NULL, NULL, &wait, mask));
	int epoll = epoll_create1(0);
	struct epoll_event event;

	printf(" epoll %d\n", epoll_pwait(epoll, &event, 1, 10, mask));
	close(epoll);
}

static void *signal_later(void *thread)
{
	usleep(20000);
	pthread_kill(*(pthread_t *)thread, SIGUSR1);
	return NULL;
}

static void await_ticks(void)
{
	int64_t burnt_ns = burn(TICKS_CPU_NS_MIN);

	while (profile_ticks < TICKS_WANTED && burnt_ns < TICKS_CPU_NS_MAX)
		burnt_ns += burn(TICKS_CPU_NS_MIN);
	printf("own ticks %s\n", profile_ticks >= TICKS_WANTED ? "come" : "are missing");
}

int main(void)
{
	struct itimerval timer = {{0, 10000}, {0, 10000}};
	pthread_t self = pthread_self(), other;
	sigset_t full, all_ones, empty;

	sigfillset(&full);
	memset(&all_ones, 0xff, sizeof(all_ones));
	sigemptyset(&empty);
	sigprocmask(SIG_BLOCK, &full, NULL);
	wait_for_all(&full);
	wait_for_all(&all_ones);
	read_all(&full);
	read_all(&all_ones);
	sleep_with(&full);
	sleep_with(&all_ones);
	sleep_with(&empty);

	signal(SIGUSR1, count);
	pthread_create(&other, NULL, signal_later, &self);
	printf("sigsuspend %d errno %d\n", sigsuspend(&empty), errno);
	pthread_join(other, NULL);
	printf("nobody %d", pthread_kill(self, 32));
	printf(" %d\n", pthread_sigqueue(self, 32, (union sigval){0}));

	/* A profiler of its own goes on ticking. */
	signal(SIGPROF, count);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	setitimer(ITIMER_PROF, &timer, NULL);
	await_ticks();
	return 0;
}
