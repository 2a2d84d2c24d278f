/*
 * Somebody holds the lock of the aggregates and does not let go, as a thread in whose
 * handler they were drained and that is not run any more: who has to wait for our thread
 * does not wait longer than for that.
 */
#include "sp_recording.h"
#include "victim.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* The least of so many tries: of what else a busy machine makes wait nothing is said. */
#define TRIES 8
/* What our thread waits for it, half of that more, and half of it. */
#define HELD_S 1.0
#define ALLOWED_S 1.5
#define SOON_US 500000

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* As soon as it has begun. */
static struct sp_recording_header *map_header(const char *path)
{
	const off_t state_at = offsetof(struct sp_recording_header, state);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint32_t state = SP_RECORDING_STARTING;
	void *header;

	ck_assert_int_ge(fd, 0);
	while (pread(fd, &state, sizeof(state), state_at) != (ssize_t)sizeof(state) ||
	       state != SP_RECORDING_RUNNING)
		usleep(1000);
	header = mmap(NULL, sizeof(struct sp_recording_header), PROT_READ | PROT_WRITE,
		      MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(header, MAP_FAILED);
	close(fd);
	return header;
}

/* Of the victim's only one. */
static struct sp_recording_header *map_header_of(const struct victim *victim)
{
	struct sp_recording_header *header;
	struct victim_files files;

	ck_assert(victim_wait_for_files(victim->recordings, "*.spanprof", 1, 20));
	victim_list(victim->recordings, "*.spanprof", &files);
	ck_assert_uint_eq(files.count, 1);
	header = map_header(files.paths[0]);
	victim_files_free(&files);
	return header;
}

/* In the name of a thread that there never is. */
static void hold_lock(const char *path)
{
	struct sp_recording_header *header = map_header(path);
	uint32_t nobody = 0;

	while (!atomic_compare_exchange_weak(&header->consumer, &nobody, UINT32_MAX)) {
		nobody = 0;
		usleep(100);
	}
	munmap(header, sizeof(*header));
}

/* Of all recordings, when there are so many that run. */
static void hold_locks(const struct victim *victim, size_t count)
{
	struct victim_files files;

	ck_assert(victim_wait_for_files(victim->recordings, "*.spanprof", count, 20));
	victim_list(victim->recordings, "*.spanprof", &files);
	ck_assert_uint_eq(files.count, count);
	for (size_t i = 0; i < count; i++)
		hold_lock(files.paths[i]);
	victim_files_free(&files);
}

#define AWAIT_GO "select(undef, undef, undef, 0.01) until -e 'go';"

START_TEST(end_waits_once)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"perl", "-e", AWAIT_GO, NULL},
	};
	double least_s = 60;

	for (int i = 0; i < TRIES && least_s >= ALLOWED_S; i++) {
		struct victim *victim = victim_start(&setup);
		double start_s, took_s;
		char path[PATH_MAX];

		hold_locks(victim, 1);
		start_s = now_s();
		victim_make_file(victim, "go");
		victim_finish(victim);
		took_s = now_s() - start_s;
		victim_assert_success(victim);
		ck_assert_double_ge(took_s, HELD_S);
		if (took_s < least_s)
			least_s = took_s;
		victim_profile(victim, 0, path);
		victim_free(victim);
	}
	ck_assert_double_lt(least_s, ALLOWED_S);
}
END_TEST

/* chroot() starts the thread of a fork child. */
static const char rights_script[] =
	"use Time::HiRes 'time'; $| = 1;"
	"if (fork) { wait; exit $? >> 8 }"
	"1 until glob(\"$ENV{XDG_RUNTIME_DIR}/perl.$$.*\");" AWAIT_GO
	"chroot '/' or exit 77; my $start = time; $> = 65534; exit 3 if $> != 65534;"
	"printf \"took_us=%d\\n\", (time - $start) * 1e6";

START_TEST(rights_are_given_up_while_our_thread_begins)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"perl", "-e", rights_script, NULL},
		.environment =
			(const char *const[]){"SPANPROF_REPORTER=pprof,pyroscope", NULL},
	};
	long long least_us = 60000000;

	if (getuid() != 0) {
		printf("only root can try this\n");
		return;
	}
	for (int i = 0; i < TRIES && least_us >= SOON_US; i++) {
		struct victim *victim = victim_start(&setup);
		long long took_us;

		hold_locks(victim, 2);
		victim_make_file(victim, "go");
		victim_finish(victim);
		victim_assert_success(victim);
		took_us = victim_number(victim->output, "took_us");
		if (took_us < least_us)
			least_us = took_us;
		victim_free(victim);
	}
	ck_assert_int_lt(least_us, SOON_US);
}
END_TEST

static bool is_thread_of(const struct victim *victim, uint32_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%u", victim->pid, tid);
	return access(path, F_OK) == 0;
}

/* Nobody would know that it was killed with the lock. */
START_TEST(vfork_child_never_has_it)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"fork_corners", "vfork_allocates", NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
	};
	struct victim *victim = victim_start(&setup);
	struct sp_recording_header *header;
	uint32_t last = (uint32_t)victim->pid;
	double start_s = now_s();
	bool was_held = false;

	header = map_header_of(victim);
	while (atomic_load(&header->state) == SP_RECORDING_RUNNING &&
	       now_s() < start_s + 60) {
		uint32_t holder = atomic_load(&header->consumer);

		was_held |= holder != 0;
		if (!holder || holder == last)
			continue;
		ck_assert(is_thread_of(victim, holder) ||
			  atomic_load(&header->state) != SP_RECORDING_RUNNING);
		last = holder;
	}
	munmap(header, sizeof(*header));
	ck_assert(was_held);
	victim_finish(victim);
	victim_assert_success(victim);
	victim_free(victim);
}
END_TEST

/* A handler that never came back to it would keep the lock for ever. */
START_TEST(no_handler_runs_while_the_program_has_it)
{
	char offset[16];
	const struct victim_setup setup = {
		.argv = (const char *const[]){"drain_signals", offset, NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
	};
	struct sp_recording_header *header;
	struct victim *victim;
	double start_s = now_s();
	bool was_held = false;

	snprintf(offset, sizeof(offset), "%zu",
		 offsetof(struct sp_recording_header, consumer));
	victim = victim_start(&setup);
	header = map_header_of(victim);
	while (atomic_load(&header->state) == SP_RECORDING_RUNNING &&
	       now_s() < start_s + 60)
		was_held |= atomic_load(&header->consumer) == (uint32_t)victim->pid;
	munmap(header, sizeof(*header));
	victim_finish(victim);
	victim_assert_success(victim);
	ck_assert(was_held);
	ck_assert_int_eq(victim_number(victim->output, "meetings"), 0);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, vfork_child_never_has_it);
	tcase_add_test(tcase, no_handler_runs_while_the_program_has_it);
	tcase_add_test(tcase, end_waits_once);
	tcase_add_test(tcase, rights_are_given_up_while_our_thread_begins);
}

int main(void)
{
	return victim_main("held_lock", add);
}
