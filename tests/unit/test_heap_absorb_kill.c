/*
 * A process that is killed while it moves freed blocks from its live table to its
 * sums: at every step of every change in turn, and at random moments, while other
 * threads allocate and free. Whoever opens its recording finds each block once.
 */
#include "test_heap_fixture.h"
#include "test_kill_fixture.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

static uint64_t count_entries(const struct sp_recording *recording,
			      enum sp_live_state state, uint32_t cell)
{
	uint64_t entries = test_heap_entries(recording), count = 0;

	for (uint64_t i = 0; i < entries; i++) {
		const struct sp_live_block *entry = test_heap_entry(recording, i);

		count += (sp_atomic_value(&entry->word) & SP_LIVE_STATE_MASK) == state &&
			 (cell == UINT32_MAX || entry->cell == cell);
	}
	return count;
}

static void check_near(double is, double should)
{
	ck_assert_msg(is >= should * (1 - 1e-9) && is <= should * (1 + 1e-9),
		      "%.17g, not %.17g", is, should);
}

/* --- at every step --- */

enum scenario_cell { DROPPED = SP_HEAP_CELL_DROPPED, FIRST, SECOND, REBORN };

#define EPOCH 3U
#define OLD_CYCLES (UINT64_C(1) << 35) /* 17 s; kept exactly */

static const struct test_block freed[] = {
	{.cell = FIRST, .size_bytes = 100, .birth_epoch = 1, .death_epoch = 3},
	{.cell = FIRST, .size_bytes = 9000, .age_cycles = OLD_CYCLES, .is_cross = true},
	{.cell = SECOND, .size_bytes = 16, .birth_epoch = 3, .death_epoch = 3},
	{.cell = 999, .size_bytes = 300},
	{.cell = SECOND, .size_bytes = 64, .birth_epoch = 0, .death_epoch = 2},
	{.cell = SECOND, .size_bytes = 32, .birth_epoch = 2, .death_epoch = 3},
	{.cell = FIRST, .size_bytes = 200, .birth_epoch = 2, .death_epoch = 3},
};
static const struct test_block used = {.cell = FIRST, .size_bytes = 4000};

/* The entries in which the scenario lies: freed ones, one in use, one being written. */
#define ENTRIES (SP_ARRAY_COUNT(freed) + 2)

static void produce_scenario(struct sp_recording *recording)
{
	struct sp_slot *slot = test_thread(recording, 1, false);

	for (uint32_t i = FIRST; i <= REBORN; i++)
		if (test_heap_add_cell(recording) != i)
			_exit(3);
	atomic_store(&recording->header->heap_mark, EPOCH);
	for (unsigned int i = 0; i < SP_ARRAY_COUNT(freed); i++)
		test_heap_freed(test_heap_entry(recording, i), &freed[i]);
	test_heap_live(test_heap_entry(recording, ENTRIES - 2), &used, 0x1000);
	atomic_store(&test_heap_entry(recording, ENTRIES - 1)->word, SP_LIVE_CLAIMED);
	atomic_store(&slot->heap_allocations, 500);
	atomic_store(&slot->heap_frees, 400);
	atomic_store(&slot->heap_bytes, 70000);
	atomic_store(&slot->heap_cost_cycles, 8000);
	atomic_store(&slot->heap_variance, sp_double_to_bits(1e6));
	test_thread_end(slot, 1);
}

/* What the child has done, for the parent to hold against what it finds. */
static _Atomic uint64_t *reborn;
static struct sp_recording *victim;
static unsigned int steps_left;

/* A hook is always at hand to take an entry that is free: what is written to it later
 * in the name of its last block would be seen. */
static void reuse_entries(void)
{
	static const struct test_block block = {.cell = REBORN, .size_bytes = 64};

	for (uint64_t i = 0; i < ENTRIES; i++) {
		struct sp_live_block *entry = test_heap_entry(victim, i);
		uint64_t free_word = SP_LIVE_FREE;

		if (!atomic_compare_exchange_strong(&entry->word, &free_word,
						    SP_LIVE_CLAIMED))
			continue;
		test_heap_live(entry, &block, 0x2000 + i * 16);
		atomic_fetch_add(reborn, 1);
	}
}

static void kill_at_step(const char *step)
{
	(void)step;
	if (victim)
		reuse_entries();
	if (--steps_left == 0)
		raise(SIGKILL);
}

static void make_recording(struct sp_recording *recording)
{
	test_kill_make_recording(recording, SP_RECORDING_BYTES_MIN);
	test_heap_begin(recording);
}

static void run_victim(unsigned int kill_step)
{
	struct sp_absorber *absorber = calloc(1, sizeof(*absorber));
	struct sp_recording recording;

	make_recording(&recording);
	if (!absorber || sp_absorber_init(absorber, &recording) != 0)
		_exit(2);
	produce_scenario(&recording);
	victim = &recording;
	steps_left = kill_step;
	sp_absorber_testpoint = kill_at_step;
	sp_absorber_drain(absorber);
	_exit(0);
}

/* By the book, block by block. */
struct expected {
	uint64_t samples;
	double objects, bytes, age_cycles, short_objects, short_bytes, cross_objects;
	double peak_objects, peak_bytes;
};

static void expect(struct expected *expected, const struct test_block *block)
{
	double objects = test_heap_objects(block->size_bytes);
	double bytes = objects * (double)block->size_bytes;

	expected->samples++;
	expected->objects += objects;
	expected->bytes += bytes;
	expected->age_cycles += objects * (double)block->age_cycles;
	if (!block->age_cycles) {
		expected->short_objects += objects;
		expected->short_bytes += bytes;
	}
	if (block->is_cross)
		expected->cross_objects += objects;
	if (block->birth_epoch < block->death_epoch && block->death_epoch == EPOCH) {
		expected->peak_objects += objects;
		expected->peak_bytes += bytes;
	}
}

static void check_cell(const struct sp_heap_cell *cell, const struct expected *expected)
{
	ck_assert_uint_eq(sp_atomic_value(&cell->freed_samples), expected->samples);
	check_near(test_double(&cell->freed_objects), expected->objects);
	check_near(test_double(&cell->freed_bytes), expected->bytes);
	check_near(test_double(&cell->age_cycles), expected->age_cycles);
	check_near(test_double(&cell->short_objects), expected->short_objects);
	check_near(test_double(&cell->short_bytes), expected->short_bytes);
	check_near(test_double(&cell->cross_objects), expected->cross_objects);
	check_near(test_double(&cell->peak_objects), expected->peak_objects);
	check_near(test_double(&cell->peak_bytes), expected->peak_bytes);
	ck_assert_uint_eq(sp_atomic_value(&cell->peak_epoch),
			  expected->peak_objects > 0 ? EPOCH : 0);
}

static void check_scenario(const struct sp_recording *recording)
{
	const struct sp_recording_header *header = recording->header;
	struct expected expected[REBORN + 1] = {{0}};
	uint64_t found;

	for (unsigned int i = 0; i < SP_ARRAY_COUNT(freed); i++)
		expect(&expected[freed[i].cell > REBORN ? DROPPED : freed[i].cell],
		       &freed[i]);
	for (uint32_t i = DROPPED; i <= REBORN; i++)
		check_cell(test_heap_cell(recording, i), &expected[i]);
	ck_assert_uint_eq(sp_atomic_value(&header->losses[SP_LOSS_DAMAGED]), 1);
	ck_assert_uint_eq(sp_atomic_value(&header->ended_heap_allocations), 500);
	ck_assert_uint_eq(sp_atomic_value(&header->ended_heap_frees), 400);
	ck_assert_uint_eq(sp_atomic_value(&header->ended_heap_bytes), 70000);
	ck_assert_uint_eq(sp_atomic_value(&header->ended_heap_cost_cycles), 8000);
	check_near(test_double(&header->ended_heap_variance), 1e6);
	/* The blocks that live, and the new ones that took entries of dead ones. */
	ck_assert_uint_eq(count_entries(recording, SP_LIVE_LIVE, FIRST), 1);
	found = count_entries(recording, SP_LIVE_LIVE, REBORN);
	ck_assert_uint_eq(found, atomic_load(reborn));
	ck_assert_uint_eq(count_entries(recording, SP_LIVE_LIVE, UINT32_MAX), found + 1);
	ck_assert_uint_eq(count_entries(recording, SP_LIVE_FREED, UINT32_MAX), 0);
}

START_TEST(kill_at_any_step_neither_loses_nor_doubles)
{
	unsigned int step = 0;
	bool is_done;

	reborn = test_kill_share(sizeof(*reborn));
	do {
		struct sp_recording recording;
		pid_t pid;

		step++;
		atomic_store(reborn, 0);
		pid = fork();
		if (pid == 0)
			run_victim(step);
		is_done = test_kill_wait(pid);
		test_kill_recover(&recording);
		check_scenario(&recording);
		sp_recording_close(&recording);
	} while (!is_done);
	/* All were given back and taken again by then. */
	ck_assert_uint_eq(atomic_load(reborn), SP_ARRAY_COUNT(freed));
	/* Few steps would mean that nobody calls the test points any more. */
	ck_assert_uint_gt(step, SP_ARRAY_COUNT(freed) * 10);
	munmap(reborn, sizeof(*reborn));
}
END_TEST

/* --- before there is anything --- */

static void run_beginner(unsigned int kill_step)
{
	struct sp_absorber *absorber = calloc(1, sizeof(*absorber));
	struct sp_recording recording;

	make_recording(&recording);
	if (!absorber)
		_exit(2);
	steps_left = kill_step;
	sp_absorber_testpoint = kill_at_step;
	_exit(sp_absorber_init(absorber, &recording) == 0 ? 0 : 2);
}

START_TEST(kill_before_the_first_cell_is_made_leaves_a_readable_recording)
{
	unsigned int step = 0;
	bool is_done;

	victim = NULL;
	do {
		struct sp_recording recording;
		pid_t pid = fork();

		step++;
		if (pid == 0)
			run_beginner(step);
		is_done = test_kill_wait(pid);
		test_kill_recover(&recording);
		ck_assert_uint_eq(sp_recording_used(&recording, SP_SECTION_HEAP_CELLS),
				  1);
		ck_assert_uint_eq(test_heap_walk(&recording),
				  sp_frame_pseudo(SP_PSEUDO_DROPPED));
		sp_recording_close(&recording);
	} while (!is_done);
	ck_assert_uint_gt(step, 4);
}
END_TEST

/* --- at random moments --- */

#define THREADS 2U
#define CELLS 8U
#define HELD 64U /* blocks that a thread has at once */
#define RANDOM_KILLS 40U

/* Shared with the parent: begun before, done after, so the truth lies between. */
struct victim_log {
	struct {
		_Atomic uint64_t born_begun[CELLS], born_done[CELLS];
		_Atomic uint64_t freed_begun[CELLS], freed_done[CELLS];
	} threads[THREADS];
};

struct hook_thread {
	struct sp_recording *recording;
	struct victim_log *log;
	uint32_t index, seed;
	struct sp_live_block *held[HELD];
};

static uint32_t next_random(struct hook_thread *self)
{
	self->seed = self->seed * 1664525 + 1013904223;
	return self->seed >> 8;
}

/* Blocks of one cell are of one size. */
static uint64_t size_of_cell(uint32_t cell)
{
	return UINT64_C(24) << cell;
}

static struct sp_live_block *claim_entry(struct hook_thread *self)
{
	uint64_t entries = test_heap_entries(self->recording);

	for (;;) {
		struct sp_live_block *entry =
			test_heap_entry(self->recording, next_random(self) % entries);
		uint64_t free_word = SP_LIVE_FREE;

		if (atomic_compare_exchange_strong(&entry->word, &free_word,
						   SP_LIVE_CLAIMED))
			return entry;
	}
}

static void give_birth(struct hook_thread *self, uint32_t place)
{
	uint32_t cell = next_random(self) % CELLS;
	struct test_block block = {.cell = cell + 1, .size_bytes = size_of_cell(cell)};
	struct sp_live_block *entry = claim_entry(self);

	atomic_fetch_add(&self->log->threads[self->index].born_begun[cell], 1);
	test_heap_live(entry, &block, (uint64_t)(uintptr_t)entry);
	atomic_fetch_add(&self->log->threads[self->index].born_done[cell], 1);
	self->held[place] = entry;
}

static void free_held(struct hook_thread *self, uint32_t place)
{
	struct sp_live_block *entry = self->held[place];
	uint32_t cell = entry->cell - 1;
	struct test_block block = {.age_cycles = next_random(self)};

	self->held[place] = NULL;
	atomic_fetch_add(&self->log->threads[self->index].freed_begun[cell], 1);
	atomic_store_explicit(&entry->word, test_heap_freed_word(&block),
			      memory_order_release);
	atomic_fetch_add(&self->log->threads[self->index].freed_done[cell], 1);
}

static void *allocate_for_ever(void *argument)
{
	struct hook_thread *self = argument;

	for (;;) {
		uint32_t place = next_random(self) % HELD;

		if (self->held[place])
			free_held(self, place);
		else
			give_birth(self, place);
	}
	return NULL;
}

static void run_busy_victim(struct victim_log *log)
{
	static struct sp_recording recording;
	static struct hook_thread threads[THREADS];
	struct sp_absorber *absorber = calloc(1, sizeof(*absorber));
	pthread_t thread;

	make_recording(&recording);
	if (!absorber || sp_absorber_init(absorber, &recording) != 0)
		_exit(2);
	for (uint32_t i = 1; i <= CELLS; i++)
		if (test_heap_add_cell(&recording) != i)
			_exit(3);
	for (uint32_t i = 0; i < THREADS; i++) {
		threads[i] = (struct hook_thread){&recording, log, i, i * 7919 + 1, {0}};
		if (pthread_create(&thread, NULL, allocate_for_ever, &threads[i]) != 0)
			_exit(4);
	}
	for (;;)
		sp_absorber_drain(absorber);
}

static uint64_t check_against_log(const struct sp_recording *recording,
				  const struct victim_log *log)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < CELLS; i++) {
		const struct sp_heap_cell *cell = test_heap_cell(recording, i + 1);
		uint64_t freed_blocks = sp_atomic_value(&cell->freed_samples);
		uint64_t born =
			freed_blocks + count_entries(recording, SP_LIVE_LIVE, i + 1);
		uint64_t born_begun = 0, born_done = 0, freed_begun = 0, freed_done = 0;

		for (uint32_t thread = 0; thread < THREADS; thread++) {
			born_begun += log->threads[thread].born_begun[i];
			born_done += log->threads[thread].born_done[i];
			freed_begun += log->threads[thread].freed_begun[i];
			freed_done += log->threads[thread].freed_done[i];
		}
		ck_assert_uint_ge(born, born_done);
		ck_assert_uint_le(born, born_begun);
		ck_assert_uint_ge(freed_blocks, freed_done);
		ck_assert_uint_le(freed_blocks, freed_begun);
		check_near(test_double(&cell->freed_objects),
			   (double)freed_blocks * test_heap_objects(size_of_cell(i)));
		check_near(test_double(&cell->freed_bytes),
			   test_double(&cell->freed_objects) * (double)size_of_cell(i));
		all += freed_done;
	}
	ck_assert_uint_eq(sp_atomic_value(&recording->header->losses[SP_LOSS_DAMAGED]),
			  0);
	return all;
}

static void sleep_us(unsigned int us)
{
	struct timespec pause = {0, (long)us * 1000};

	nanosleep(&pause, NULL);
}

START_TEST(kill_at_random_moments_neither_loses_nor_doubles)
{
	struct victim_log *log = test_kill_share(sizeof(*log));
	uint64_t all = 0;

	for (unsigned int i = 0; i < RANDOM_KILLS; i++) {
		struct sp_recording recording;
		pid_t pid;

		memset(log, 0, sizeof(*log));
		pid = fork();
		if (pid == 0)
			run_busy_victim(log);
		while (!atomic_load(&log->threads[THREADS - 1].freed_done[0]) &&
		       test_kill_is_running(pid))
			sleep_us(100);
		sleep_us(500 + i * 997 % 20000);
		kill(pid, SIGKILL);
		ck_assert(!test_kill_wait(pid));
		test_kill_recover(&recording);
		all += check_against_log(&recording, log);
		sp_recording_close(&recording);
	}
	ck_assert_uint_gt(all, RANDOM_KILLS * 1000);
	munmap(log, sizeof(*log));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("heap_absorb_kill");
	TCase *tc = tcase_create("heap_absorb_kill");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, test_kill_setup, test_kill_teardown);
	tcase_add_test(tc, kill_at_any_step_neither_loses_nor_doubles);
	tcase_add_test(tc,
		       kill_before_the_first_cell_is_made_leaves_a_readable_recording);
	tcase_add_test(tc, kill_at_random_moments_neither_loses_nor_doubles);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
