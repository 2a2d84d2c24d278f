/*
 * Storms of allocations: threads that free each other's blocks, up to two hundred of
 * them here and two thousand by hand (SPANPROF_TEST_LONG), that end well or by kill -9
 * at any moment. The program keeps account of all it does in a file that outlives it;
 * the profile agrees, to the block when every block is sampled and within what the
 * sampling allows at the default rate.
 */
#include "../programs/heap_storm.h"

#include "heap_profile.h"
#include "heap_statistics.h"
#include "victim.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KILLS 50
#define DEFAULT_RATE (512.0 * 1024)
#define FAMILY_P 0.001

static const size_t sizes[HEAP_STORM_SITES] = HEAP_STORM_SIZES;

static bool is_long(void)
{
	return getenv("SPANPROF_TEST_LONG") != NULL;
}

/* What the program was sure of when it ended, and what may have come to pass. */
struct bracket {
	int64_t low, high;
};

struct account {
	struct {
		struct bracket allocated, inuse;
	} sites[HEAP_STORM_SITES];
	int64_t threads;
};

static void read_account(const struct victim *victim, struct account *account)
{
	struct heap_storm told;
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/" HEAP_STORM_FILE, victim->folder);
	fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, &told, sizeof(told)), sizeof(told));
	close(fd);
	account->threads = atomic_load(&told.threads);
	for (unsigned i = 0; i < HEAP_STORM_SITES; i++) {
		int64_t begun = atomic_load(&told.sites[i].allocs_begun);
		int64_t done = atomic_load(&told.sites[i].allocs_done);
		int64_t frees_begun = atomic_load(&told.sites[i].frees_begun);
		int64_t frees_done = atomic_load(&told.sites[i].frees_done);

		account->sites[i].allocated = (struct bracket){done, begun};
		account->sites[i].inuse =
			(struct bracket){done - frees_begun, begun - frees_done};
	}
}

static bool is_within(const struct bracket *bracket, int64_t value)
{
	return value >= bracket->low && value <= bracket->high;
}

static struct heap_sums sums_of_site(const struct heap_profile *profile, unsigned site)
{
	char name[32];

	snprintf(name, sizeof(name), "storm_%u", site);
	return heap_profile_with(profile, name);
}

static void assert_exact(const struct heap_profile *profile,
			 const struct account *account)
{
	bool is_wrong = false;

	for (unsigned i = 0; i < HEAP_STORM_SITES; i++) {
		struct heap_sums found = sums_of_site(profile, i);
		const struct bracket *allocated = &account->sites[i].allocated;
		const struct bracket *inuse = &account->sites[i].inuse;
		int64_t size_bytes = (int64_t)sizes[i];

		if (is_within(allocated, found.alloc_objects) &&
		    is_within(inuse, found.inuse_objects) &&
		    found.alloc_bytes == found.alloc_objects * size_bytes &&
		    found.inuse_bytes == found.inuse_objects * size_bytes)
			continue;
		is_wrong = true;
		printf("storm_%u: %lld objects, %lld bytes, in use %lld, %lld; should be "
		       "%lld to %lld objects, in use %lld to %lld\n",
		       i, (long long)found.alloc_objects, (long long)found.alloc_bytes,
		       (long long)found.inuse_objects, (long long)found.inuse_bytes,
		       (long long)allocated->low, (long long)allocated->high,
		       (long long)inuse->low, (long long)inuse->high);
	}
	if (is_wrong)
		heap_profile_show(profile);
	ck_assert(!is_wrong);
}

/* Probability of an estimate as far away; 1 where it is within the bracket. */
static double p_of(const struct bracket *bracket, int64_t objects, unsigned site)
{
	double p = heap_share(sizes[site], DEFAULT_RATE);
	int64_t samples = (int64_t)round((double)objects * p);

	if ((double)samples < (double)bracket->low * p)
		return heap_binomial_p(samples, bracket->low, p);
	if ((double)samples > (double)bracket->high * p)
		return heap_binomial_p(samples, bracket->high, p);
	return 1;
}

/*
 * tests is how many such comparisons the whole family has, so that all of it fails by
 * chance once in 1 / FAMILY_P times.
 */
static void assert_estimated(const struct heap_profile *profile,
			     const struct account *account, int tests)
{
	struct heap_account whole = heap_profile_account(profile);

	for (unsigned i = 0; i < HEAP_STORM_SITES; i++) {
		struct heap_sums found = sums_of_site(profile, i);
		double p_alloc =
			p_of(&account->sites[i].allocated, found.alloc_objects, i);
		double p_inuse = p_of(&account->sites[i].inuse, found.inuse_objects, i);

		ck_assert_msg(p_alloc >= FAMILY_P / tests && p_inuse >= FAMILY_P / tests,
			      "storm_%u: %lld objects, in use %lld; p %.2g and %.2g for "
			      "%lld to %lld, in use %lld to %lld",
			      i, (long long)found.alloc_objects,
			      (long long)found.inuse_objects, p_alloc, p_inuse,
			      (long long)account->sites[i].allocated.low,
			      (long long)account->sites[i].allocated.high,
			      (long long)account->sites[i].inuse.low,
			      (long long)account->sites[i].inuse.high);
	}
	ck_assert_msg(fabs(whole.estimate_bytes - whole.bytes) <=
			      4 * whole.standard_error_bytes,
		      "estimate %.0f, exact %.0f, standard error %.0f",
		      whole.estimate_bytes, whole.bytes, whole.standard_error_bytes);
}

static void assert_counted(const struct heap_profile *profile,
			   const struct account *account)
{
	struct heap_account whole = heap_profile_account(profile);
	double low = 0, beside;

	for (unsigned i = 0; i < HEAP_STORM_SITES; i++)
		low += (double)account->sites[i].allocated.low;
	/* Beside the storm the C library allocates for each thread. */
	beside = whole.allocations - low;
	ck_assert_msg(beside >= 0 && beside < 1000 + 2 * (double)account->threads,
		      "exact: %.0f allocations, %.0f of them in the storm",
		      whole.allocations, low);
}

static void assert_nothing_lost(const struct heap_profile *profile)
{
	static const char *const losses[] = {HEAP_LOSS_UNTRACKED, HEAP_LOSS_STALE,
					     "samples dropped", "could not be read"};

	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		if (heap_profile_loss(profile, losses[i]) > 0)
			heap_profile_show(profile);
		ck_assert_msg(heap_profile_loss(profile, losses[i]) == 0, "%s",
			      losses[i]);
	}
}

static const struct {
	const char *rate;
	bool is_ending_threads;
} storms[] = {
	{"SPANPROF_HEAP_RATE=1", false},
	{"SPANPROF_HEAP_RATE=524288", false},
	{"SPANPROF_HEAP_RATE=1", true},
	{"SPANPROF_HEAP_RATE=524288", true},
};
#define STORMS ((int)(sizeof(storms) / sizeof(storms[0])))

START_TEST(nothing_of_a_storm_is_lost)
{
	/* Where threads end, thousands come and go. */
	const char *few = storms[_i].is_ending_threads ? "20" : "200";
	struct victim_setup setup = {
		.argv = (const char *const[]){"heap_storm", is_long() ? "2000" : few,
					      is_long() ? "60000" : "3000",
					      storms[_i].is_ending_threads ? "x" : NULL,
					      NULL},
		.environment = (const char *const[]){storms[_i].rate, NULL},
		.timeout_s = is_long() ? 240 : 60,
	};
	struct victim *victim = victim_run(&setup);
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	struct account account;

	victim_assert_success(victim);
	victim_assert_clean(victim);
	read_account(victim, &account);
	assert_nothing_lost(profile);
	if (_i % 2 == 0)
		assert_exact(profile, &account);
	else
		assert_estimated(profile, &account, STORMS * 2 * (int)HEAP_STORM_SITES);
	if (!storms[_i].is_ending_threads)
		assert_counted(profile, &account);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* --- memory --- */

static double read_status_kib(int pid, const char *name)
{
	char path[64], line[256];
	double kib = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	while (kib < 0 && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, name, strlen(name)) == 0)
			kib = strtod(line + strlen(name) + 1, NULL);
	fclose(file);
	ck_assert(kib >= 0);
	return kib;
}

/* Storage of the recording, whether looked at or not. */
static double recording_kib(const struct victim *victim)
{
	struct victim_files files;
	struct stat status;
	double kib = 0;

	victim_list(victim->recordings, "*", &files);
	for (size_t i = 0; i < files.count; i++)
		if (stat(files.paths[i], &status) == 0)
			kib += (double)status.st_blocks / 2;
	victim_files_free(&files);
	return kib;
}

/* Private memory in the midst of a storm; of the recording too. */
static double storm_memory_kib(const char *threads, bool is_bare, double *recorded_kib)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"heap_storm", threads, "4000", NULL},
		/* One heap: how many there are is a matter of chance. */
		.environment = (const char *const[]){"MALLOC_ARENA_MAX=1", NULL},
		.is_bare = is_bare,
	};
	struct victim *victim = victim_start(&setup);
	double kib;

	nanosleep(&(struct timespec){.tv_sec = 3}, NULL);
	kib = read_status_kib(victim->pid, "RssAnon:");
	*recorded_kib = recording_kib(victim);
	victim_finish(victim);
	victim_assert_success(victim);
	victim_free(victim);
	return kib;
}

/* The numbers of the architecture for busy threads at the defaults. */
START_TEST(memory_of_the_agent_is_bounded)
{
	const char *threads = is_long() ? "2000" : "200";
	double limit_kib = is_long() ? 64 * 1024 : 16 * 1024 + 200;
	double recorded_kib, nothing_kib;
	double bare_kib = storm_memory_kib(threads, true, &nothing_kib);
	double agent_kib = storm_memory_kib(threads, false, &recorded_kib);
	double own_kib = agent_kib - bare_kib + recorded_kib;

	printf("%s threads: private %.0f KiB (%.0f without us), recording %.0f KiB\n",
	       threads, agent_kib, bare_kib, recorded_kib);
	ck_assert(nothing_kib == 0);
	ck_assert(recorded_kib > 0);
	ck_assert_msg(own_kib <= limit_kib, "%.0f KiB", own_kib);
}
END_TEST

/* --- kills --- */

static const struct {
	const char *threads, *ending; /* NULL: threads stay */
	const char *rate;
} kinds[] = {
	{"4", NULL, "SPANPROF_HEAP_RATE=1"},  {"4", NULL, "SPANPROF_HEAP_RATE=524288"},
	{"1", NULL, "SPANPROF_HEAP_RATE=1"},  {"50", NULL, "SPANPROF_HEAP_RATE=524288"},
	{"50", NULL, "SPANPROF_HEAP_RATE=1"}, {"8", "x", "SPANPROF_HEAP_RATE=524288"},
	{"8", "x", "SPANPROF_HEAP_RATE=1"},   {"1", NULL, "SPANPROF_HEAP_RATE=524288"},
};
#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

START_TEST(killed_storm_agrees_with_its_account)
{
	int kind = _i % KINDS;
	struct victim_setup setup = {
		.argv = (const char *const[]){"heap_storm", kinds[kind].threads, "0",
					      kinds[kind].ending, NULL},
		.environment = (const char *const[]){kinds[kind].rate, NULL},
		.kill_signal = SIGKILL,
		.kill_after_ms = 250 + (unsigned)_i * 379 % 500,
	};
	struct victim *victim = victim_run(&setup);
	const char *const arguments[] = {"recover", "-o", victim->profiles,
					 victim->recordings, NULL};
	struct heap_profile *profile;
	struct account account;

	ck_assert(WIFSIGNALED(victim->status));
	ck_assert_int_eq(WTERMSIG(victim->status), SIGKILL);
	ck_assert_int_eq(victim_cli(arguments), 0);
	profile = heap_profile_of(victim, "heap");
	read_account(victim, &account);
	ck_assert_int_gt(account.sites[0].allocated.low, 1000);
	if (kind % 2 == 0)
		assert_exact(profile, &account);
	else
		assert_estimated(profile, &account, KILLS * (int)HEAP_STORM_SITES);
	assert_nothing_lost(profile);
	heap_profile_free(profile);
	heap_profile_free(heap_profile_of(victim, "peak"));
	heap_profile_free(heap_profile_of(victim, "lifetimes"));
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, nothing_of_a_storm_is_lost, 0, STORMS);
	tcase_add_test(tcase, memory_of_the_agent_is_bounded);
	if (!is_long())
		tcase_add_loop_test(tcase, killed_storm_agrees_with_its_account, 0,
				    KILLS);
}

int main(void)
{
	return victim_main("heap_storm", add);
}
