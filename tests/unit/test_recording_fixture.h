/*
 * Recordings made by hand: threads that are only slots, samples whose stacks are
 * told apart by a number, and what must be found of them afterwards. Asserts
 * nothing itself, so that the fuzzer and children of tests can use it.
 */
#ifndef TEST_RECORDING_FIXTURE_H
#define TEST_RECORDING_FIXTURE_H

#include "profile_cpu.h"
#include "sp_absorb.h"
#include "sp_compiler.h"
#include "sp_frame.h"
#include "sp_process_identity.h"
#include "sp_recording_reader.h"
#include "sp_recording_writer.h"
#include "sp_ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEST_PERIOD_NS UINT64_C(10000000)
#define TEST_STACKS_MAX 8192U
#define TEST_FRAMES_MAX 8U

/* Where tests put their recordings: in memory, if there is a place. */
static inline bool test_make_folder(char *folder, size_t folder_bytes)
{
	snprintf(folder, folder_bytes, "%s/spanprof_test_XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	return mkdtemp(folder) != NULL;
}

static inline void test_remove_folder(const char *folder)
{
	char command[512];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	if (system(command) != 0)
		perror(command);
}

/* Of this process, in that directory only; else anonymous, as in real life. */
static inline int test_recording_make(struct sp_recording *recording,
				      const char *directory, uint64_t bytes_max)
{
	const struct sp_recording_settings settings = {.directory = directory,
						       .program = "tested",
						       .bytes_max = bytes_max,
						       .wants_large_pages = true};
	struct sp_process_identity identity;
	struct sp_recording_header *header;
	int err = sp_recording_create(recording, &settings);

	if (err)
		return err;
	header = recording->header;
	sp_process_identity_read(&identity, (int)header->pid);
	header->pid_namespace = identity.pid_namespace;
	header->process_start_ticks = identity.start_ticks;
	header->boot_id_hash = identity.boot_id_hash;
	header->cpu_period_ns = TEST_PERIOD_NS;
	snprintf(header->program, sizeof(header->program), "tested");
	snprintf(header->file_pattern, sizeof(header->file_pattern), "%%e.%%p");
	atomic_store(&header->state, SP_RECORDING_RUNNING);
	return 0;
}

/* A thread: the first free slot, live, with a ring of its own or none. */
static inline struct sp_slot *test_thread(struct sp_recording *recording, uint32_t group,
					  bool has_ring)
{
	_Atomic uint64_t *used_items =
		&recording->header->sections[SP_SECTION_SLOTS].used_items;
	struct sp_slot *slot = NULL;

	for (uint64_t i = 0; i < atomic_load(used_items) && !slot; i++) {
		slot = sp_recording_item(recording, SP_SECTION_SLOTS, i);
		if (atomic_load(&slot->state) != SP_SLOT_FREE)
			slot = NULL;
	}
	if (!slot) {
		uint64_t used = atomic_load(used_items);

		if (sp_recording_reserve(recording, SP_SECTION_SLOTS, used + 1) != 0)
			return NULL;
		slot = sp_recording_item(recording, SP_SECTION_SLOTS, used);
		atomic_store(used_items, used + 1);
	}
	memset(slot, 0, sizeof(*slot));
	atomic_store(&slot->group, group);
	if (has_ring) {
		sp_ring_pool_grow(recording, 1);
		atomic_store(&slot->ring, sp_ring_pool_take(recording));
	}
	atomic_fetch_add(&recording->header->live_slots, 1);
	atomic_store(&slot->tid, 1000);
	atomic_store(&slot->state, SP_SLOT_LIVE);
	return slot;
}

static inline struct sp_ring *test_ring_of(const struct sp_recording *recording,
					   struct sp_slot *slot)
{
	return sp_ring_of(recording, atomic_load(&slot->ring));
}

static inline void test_thread_end(struct sp_slot *slot, uint64_t cpu_ns)
{
	atomic_store(&slot->cpu_ns, cpu_ns);
	atomic_store(&slot->state, SP_SLOT_ENDED);
}

/* Leaf first. Stacks share their roots, so that they share nodes. */
static inline uint32_t test_stack(uint32_t stack, uint64_t frames[TEST_FRAMES_MAX])
{
	uint32_t count = 0;

	frames[count++] = sp_frame_make(1, 0x1000 + UINT64_C(16) * stack);
	frames[count++] = sp_frame_make(1, 0x5000000 + stack % 5);
	if (stack % 2)
		frames[count++] = sp_frame_make(0, 0x7f0000000000 + stack % 3);
	frames[count++] = sp_frame_make(2, 0x10);
	return count;
}

/* The kinds of walk's end that the consumer tells apart. */
enum test_end { TEST_END_OUTERMOST = 0, TEST_END_FULL = 1, TEST_END_SHORT = 2 };

/* As the handler does it: reserve more than is needed, give the rest back. */
static inline bool test_produce(struct sp_ring *ring, uint32_t stack, uint32_t periods,
				enum test_end end)
{
	const uint32_t reserved_bytes =
		(uint32_t)sizeof(struct sp_cpu_record) + 8 * TEST_FRAMES_MAX * 2;
	struct sp_cpu_record *record = (void *)sp_ring_reserve(ring, reserved_bytes);
	uint32_t used_bytes;

	if (!record)
		return false;
	record->weight_periods = periods;
	record->frame_count = (uint16_t)test_stack(stack, record->frames);
	record->mode = stack % 4 == 3;
	record->end = (uint8_t)end;
	used_bytes = (uint32_t)sizeof(*record) + record->frame_count * 8U;
	used_bytes = sp_ring_shrink(ring, &record->record, reserved_bytes, used_bytes);
	sp_ring_commit(&record->record, used_bytes, SP_RECORD_CPU);
	return true;
}

/* What a recording holds, after it was drained. */
struct test_tally {
	uint64_t samples[TEST_STACKS_MAX], periods[TEST_STACKS_MAX];
	uint64_t dropped_samples, dropped_periods;
	uint64_t all_samples, all_periods;
	uint64_t malformed; /* cells whose stack is none of ours, or not whole */
	uint64_t ended_cpu_ns, ended_threads, ended_samples, ended_handler_cycles;
	uint64_t losses[SP_LOSS_COUNT];
};

static inline const struct sp_node *test_node(const struct sp_recording *recording,
					      uint32_t node)
{
	return sp_recording_item(recording, SP_SECTION_NODES, node);
}

/* The number of a cell's stack; TEST_STACKS_MAX when it is not whole. */
static inline uint32_t test_stack_of(const struct sp_recording *recording, uint32_t node)
{
	uint64_t frames[TEST_FRAMES_MAX];
	uint64_t offset = sp_frame_offset(test_node(recording, node)->frame);
	uint32_t stack = (uint32_t)(offset - 0x1000) / 16;
	uint32_t count;

	if (offset < 0x1000 || stack >= TEST_STACKS_MAX)
		return TEST_STACKS_MAX;
	count = test_stack(stack, frames);
	for (uint32_t i = 0; i < count; i++) {
		if (node == 0 || test_node(recording, node)->frame != frames[i])
			return TEST_STACKS_MAX;
		node = test_node(recording, node)->parent;
	}
	/* Behind the root: nothing, or why there is no more. */
	if (node &&
	    sp_frame_module(test_node(recording, node)->frame) == SP_MODULE_PSEUDO)
		node = test_node(recording, node)->parent;
	return node ? TEST_STACKS_MAX : stack;
}

static inline void test_tally_read(const struct sp_recording *recording,
				   struct test_tally *tally)
{
	const struct sp_recording_header *header = recording->header;

	memset(tally, 0, sizeof(*tally));
	for (uint64_t i = 0; i < sp_recording_used(recording, SP_SECTION_CELLS); i++) {
		const struct sp_cell *cell =
			sp_recording_item(recording, SP_SECTION_CELLS, i);
		uint64_t samples = sp_atomic_value(&cell->values[0]);
		uint64_t periods = sp_atomic_value(&cell->values[1]);
		uint32_t stack;

		tally->all_samples += samples;
		tally->all_periods += periods;
		if (cell->node == 1) {
			tally->dropped_samples += samples;
			tally->dropped_periods += periods;
			continue;
		}
		stack = test_stack_of(recording, cell->node);
		if (stack == TEST_STACKS_MAX || cell->mode != (stack % 4 == 3)) {
			tally->malformed++;
			continue;
		}
		tally->samples[stack] += samples;
		tally->periods[stack] += periods;
	}
	for (uint64_t i = 0; i < SP_GROUPS; i++) {
		const struct sp_group *group =
			sp_recording_item(recording, SP_SECTION_GROUPS, i);

		tally->ended_cpu_ns += sp_atomic_value(&group->ended_cpu_ns);
		tally->ended_threads += sp_atomic_value(&group->ended_threads);
	}
	tally->ended_samples = sp_atomic_value(&header->ended_samples);
	tally->ended_handler_cycles = sp_atomic_value(&header->ended_handler_cycles);
	for (unsigned int i = 0; i < SP_LOSS_COUNT; i++)
		tally->losses[i] = sp_atomic_value(&header->losses[i]);
}

/* As in the command: index, drain, release. */
static inline int test_drain(struct sp_recording *recording)
{
	struct sp_absorber *absorber = calloc(1, sizeof(*absorber));
	int err;

	if (!absorber)
		return -1;
	err = sp_absorber_init(absorber, recording);
	if (!err)
		sp_absorber_drain(absorber);
	sp_absorber_fini(absorber);
	free(absorber);
	return err;
}

static inline uint64_t test_touch(const char *text)
{
	uint64_t sum = 0;

	for (; *text; text++)
		sum += (unsigned char)*text;
	return sum;
}

/* One pass over everything that a reporter would read; the number of samples. */
static inline uint64_t test_read_view(const struct sp_profile_view *view,
				      uint64_t *checksum)
{
	struct sp_view_sample sample;
	uint64_t samples = 0;

	while (view->next_sample(view->cursor, &sample) == 1) {
		samples++;
		for (uint32_t i = 0; i < sample.frame_count; i++)
			*checksum = *checksum * 31 + sample.frames[i];
		for (uint32_t i = 0; i < view->value_type_count; i++)
			*checksum = *checksum * 31 + (uint64_t)sample.values[i];
		for (uint32_t i = 0; i < sample.label_count; i++)
			*checksum +=
				test_touch(sample.labels[i].key) +
				(sample.labels[i].str ? test_touch(sample.labels[i].str)
						      : 0);
	}
	for (uint32_t i = 0; i < view->module_count; i++) {
		*checksum += test_touch(view->modules[i].path);
		for (uint32_t k = 0; k < view->modules[i].build_id_bytes; k++)
			*checksum += view->modules[i].build_id[k];
	}
	for (uint32_t i = 0; i < view->comment_count; i++)
		*checksum += test_touch(view->comments[i]);
	return samples;
}

/*
 * All that the command does with a recording that it has opened, up to the profile.
 * 0, or the error of a refusal; -1 if two passes over one profile differ. The sum
 * of its CPU time in *cpu_ns.
 */
static inline int test_examine(struct sp_recording *recording, uint64_t *cpu_ns)
{
	char error[256] = "";
	struct sp_cpu_profile *profile;
	uint64_t first_samples, first = 0, second = 0;
	int err = test_drain(recording);

	if (!err)
		err = sp_recording_check_sums(recording, error, sizeof(error));
	if (err)
		return err;
	profile = sp_cpu_profile_create(recording);
	if (!profile)
		return -ENOMEM;
	first_samples = test_read_view(sp_cpu_profile_view(profile), &first);
	sp_cpu_profile_view(profile)->rewind(sp_cpu_profile_view(profile)->cursor);
	if (test_read_view(sp_cpu_profile_view(profile), &second) != first_samples ||
	    first != second)
		err = -1;
	*cpu_ns = sp_cpu_profile_totals(profile)->cpu_ns;
	sp_cpu_profile_destroy(profile);
	return err;
}

#endif
