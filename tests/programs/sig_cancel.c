/*
 * What the C library does with its own signals: cancellation of every kind, timers
 * that start threads, identity changes across threads.
 */
#include "burn.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic int is_started, expirations;
static int pipe_ends[2];

static unsigned long cleanup_mask;

static void keep_mask(void *unused)
{
	sigset_t mask;

	(void)unused;
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	cleanup_mask = *(unsigned long *)&mask;
}

static void *spin(void *unused)
{
	int old;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	pthread_cleanup_push(keep_mask, NULL);
	atomic_store(&is_started, 1);
	for (;;)
		__asm__ volatile("");
	pthread_cleanup_pop(0);
	return unused;
}

static void *sleep_in_read(void *unused)
{
	char byte;

	pthread_cleanup_push(keep_mask, NULL);
	atomic_store(&is_started, 1);
	if (read(pipe_ends[0], &byte, 1) == 1)
		printf("read something\n");
	pthread_cleanup_pop(0);
	return unused;
}

static void *refuse(void *unused)
{
	int old;

	(void)unused;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	atomic_store(&is_started, 1);
	usleep(50000);
	burn(20 * NS_PER_MS);
	return (void *)42;
}

static void cancel(void *(*run)(void *), const char *what)
{
	pthread_t thread;
	void *result;

	cleanup_mask = 0;
	atomic_store(&is_started, 0);
	pthread_create(&thread, NULL, run, NULL);
	while (!atomic_load(&is_started))
		usleep(1000);
	usleep(20000);
	printf("%s: cancel %d", what, pthread_cancel(thread));
	printf(", join %d", pthread_join(thread, &result));
	printf(", result %ld, cleanup with mask %016lx\n", (long)result, cleanup_mask);
}

static void expire(union sigval value)
{
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	if (atomic_fetch_add(&expirations, 1) == 0)
		printf("expired with %d, mask %016lx\n", value.sival_int,
		       *(unsigned long *)&mask);
	burn(5 * NS_PER_MS);
}

static void run_thread_timer(void)
{
	struct itimerspec when = {{0, 10 * NS_PER_MS}, {0, 10 * NS_PER_MS}};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD,
				 .sigev_value.sival_int = 7};
	timer_t timer;

	event.sigev_notify_function = expire;
	printf("timer_create %d\n", timer_create(CLOCK_MONOTONIC, &event, &timer));
	timer_settime(timer, 0, &when, NULL);
	while (atomic_load(&expirations) < 10)
		usleep(1000);
	timer_delete(timer);
	usleep(30000);
}

int main(void)
{
	pid_t child;
	int status;

	burn(30 * NS_PER_MS);
	if (pipe(pipe_ends) != 0)
		return 1;
	run_thread_timer();
	cancel(spin, "spinning");
	burn(30 * NS_PER_MS);
	cancel(spin, "spinning again");
	cancel(sleep_in_read, "reading");
	cancel(refuse, "refusing");
	printf("setgid %d setuid %d\n", setgid(getgid()), setuid(getuid()));
	burn(30 * NS_PER_MS);
	run_thread_timer();

	/* Sent from outside, the number means nothing once its handler is there ... */
	printf("kill %d\n", kill(getpid(), 32));
	fflush(stdout);
	child = fork();
	if (child == 0) {
		burn(30 * NS_PER_MS);
		kill(getpid(), 32);
		_exit(3);
	}
	waitpid(child, &status, 0);
	printf("child %x\n", (unsigned)status);
	return 0;
}
