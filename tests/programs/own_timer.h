/*
 * A timer of the program's own on a thread's CPU clock, as the agent has one. The kernel
 * looks at both at the same ticks, those that fall on the thread: what this one has been
 * told of, the agent's has, too. It lies in the file "own_timer" also when the program is
 * killed: how many signals came, and the thread's CPU time at the last one.
 */
#ifndef OWN_TIMER_H
#define OWN_TIMER_H

#include "burn.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

/* victim_own_timer() reads it. */
struct own_timer {
	int64_t signals, cpu_ns;
};

static struct own_timer *own_timer_told;
static int64_t own_timer_start_ns;

static inline void own_timer_ran_out(int signal)
{
	(void)signal;
	own_timer_told->signals++;
	own_timer_told->cpu_ns = thread_cpu_ns() - own_timer_start_ns;
}

/* Of the calling thread. Of signals that come together the kernel has the handler of the
 * highest number run first: the agent's. */
static inline void own_timer_start(int64_t period_ns)
{
	struct sigaction action = {.sa_handler = own_timer_ran_out,
				   .sa_flags = SA_RESTART};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
	struct itimerspec often = {{0, period_ns}, {0, period_ns}};
	int fd = open("own_timer", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	timer_t timer;

	event._sigev_un._tid = gettid();
	if (fd < 0 || ftruncate(fd, sizeof(*own_timer_told)) != 0)
		exit(7);
	own_timer_told = mmap(NULL, sizeof(*own_timer_told), PROT_READ | PROT_WRITE,
			      MAP_SHARED, fd, 0);
	close(fd);
	own_timer_start_ns = thread_cpu_ns();
	if (own_timer_told == MAP_FAILED || sigaction(SIGUSR2, &action, NULL) != 0 ||
	    timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) != 0 ||
	    timer_settime(timer, 0, &often, NULL) != 0)
		exit(7);
}

#endif
