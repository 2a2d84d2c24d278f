/*
 * A recording of a test that runs in a process of its own, where a SIGBUS or SIGXFSZ
 * shows as its end: made in a folder, filled beyond what there is room for, read back.
 */
#ifndef TEST_STORAGE_FIXTURE_H
#define TEST_STORAGE_FIXTURE_H

#include "test_recording_fixture.h"

#include <check.h>
#include <sys/wait.h>

#define BYTES_MAX (UINT64_C(2) << 20)
#define SKIPPED 77

static char folder[64];

static inline void setup_folder(void)
{
	ck_assert(test_make_folder(folder, sizeof(folder)));
}

static inline void teardown(void)
{
	test_remove_folder(folder);
}

/* In a child: a condition that does not hold ends it with the line's number. */
static _Noreturn inline void give_up(int line)
{
	dprintf(STDERR_FILENO, "line %d does not hold\n", line);
	_exit(1);
}
#define require(condition)                                                               \
	do {                                                                             \
		if (!(condition))                                                        \
			give_up(__LINE__);                                               \
	} while (0)

static struct sp_recording recording;
static struct sp_absorber absorber;
static struct test_tally tally;

static inline void run(void (*test)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		test();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!WIFSIGNALED(status), "killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) == SKIPPED)
		puts("left out: needs mount() or chroot()");
	else
		ck_assert_int_eq(WEXITSTATUS(status), 0);
}

static inline uint64_t storage_bytes(void)
{
	return atomic_load(&recording.header->storage_bytes);
}

/* Far more stacks than there is room for; the sum must be whole all the same. */
static inline void produce_too_much(void)
{
	struct sp_slot *slot = test_thread(&recording, 1, true);
	struct sp_ring *ring;
	uint64_t refused = 0;

	require(slot);
	require(atomic_load(&slot->ring));
	ring = test_ring_of(&recording, slot);
	for (uint32_t i = 0; i < 200000; i++) {
		/* Frames beyond TEST_STACKS_MAX are not told apart, but counted. */
		if (!test_produce(ring, i, 1, TEST_END_OUTERMOST)) {
			refused++;
			sp_absorber_drain(&absorber);
		}
		require(storage_bytes() <= recording.header->storage_bytes_max);
	}
	sp_absorber_drain(&absorber);
	test_tally_read(&recording, &tally);
	require(tally.all_samples == 200000 - refused);
	require(tally.dropped_samples > 0);
	require(tally.dropped_samples == tally.losses[SP_LOSS_TABLE_FULL]);
}

static inline void begin_recording(const char *directory, uint64_t bytes_max,
				   bool is_file)
{
	require(test_recording_make(&recording, directory, bytes_max) == 0);
	require(recording.is_file == is_file);
	require(sp_absorber_init(&absorber, &recording) == 0);
	sp_ring_pool_grow(&recording, 1);
}

/* What is in the file is what is in memory. */
static inline void require_readable(void)
{
	struct sp_recording copy;
	struct test_tally copied;
	char error[256];

	require(sp_recording_open(&copy, recording.path, error, sizeof(error)) == 0);
	require(test_drain(&copy) == 0);
	test_tally_read(&copy, &copied);
	require(copied.all_samples == tally.all_samples);
	require(copied.dropped_samples == tally.dropped_samples);
	sp_recording_close(&copy);
}

static inline void remove_file(void)
{
	require(unlink(recording.path) == 0);
}

/* Each case is a test of the suite; what main() returns. */
static inline int run_cases(const char *name, const TTest *test, int count)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_folder, teardown);
	tcase_add_loop_test(tc, test, 0, count);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
