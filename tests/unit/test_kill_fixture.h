/*
 * Victims that are killed while they move what a recording has to its sums, and what is
 * found in the recording then: it is the only one of a folder of the test's own.
 */
#ifndef SP_TEST_KILL_FIXTURE_H
#define SP_TEST_KILL_FIXTURE_H

#include "test_recording_fixture.h"

#include <check.h>
#include <glob.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static char test_kill_folder[64];

static inline void test_kill_setup(void)
{
	ck_assert(test_make_folder(test_kill_folder, sizeof(test_kill_folder)));
}

static inline void test_kill_teardown(void)
{
	test_remove_folder(test_kill_folder);
}

/* Context of a victim: a recording of its own, which outlives it. */
static inline void test_kill_make_recording(struct sp_recording *recording,
					    uint64_t bytes_max)
{
	if (test_recording_make(recording, test_kill_folder, bytes_max) != 0 ||
	    !recording->is_file)
		_exit(2);
}

/* Memory that victims and the test have together. */
static inline void *test_kill_share(size_t size_bytes)
{
	void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

/* Is it done? Else it was killed; no other end is right. */
static inline bool test_kill_wait(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	return status == 0;
}

/* One that ended by itself is not there to be waited for. */
static inline bool test_kill_is_running(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG) == 0;
}

/* What the victim left, drained; its file is removed. */
static inline void test_kill_recover(struct sp_recording *recording)
{
	char pattern[128], error[256] = "";
	glob_t found;
	int err;

	snprintf(pattern, sizeof(pattern), "%s/*" SP_RECORDING_SUFFIX, test_kill_folder);
	ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
	ck_assert_uint_eq(found.gl_pathc, 1);
	err = sp_recording_open(recording, found.gl_pathv[0], error, sizeof(error));
	ck_assert_msg(err == 0, "%s", error);
	ck_assert_int_eq(test_drain(recording), 0);
	err = sp_recording_check_sums(recording, error, sizeof(error));
	ck_assert_msg(err == 0, "%s", error);
	ck_assert_int_eq(unlink(found.gl_pathv[0]), 0);
	globfree(&found);
}

#endif
