/*
 * Counts how often our chain of frames is libunwind's, and how often it reaches an
 * outermost frame. Context: signal; static memory, atomic counters; a few differing
 * pairs are kept by whoever comes first.
 */
#include "oracle_compare.h"

#include "sp_clock.h"
#include "sp_compiler.h"

#include <stdio.h>
#include <string.h>

#define FRAMES_MAX 256
#define DIFFERENCES_MAX 24
#define ENDS 5
/* Durations in steps of 100 ns. */
#define DURATION_STEP_NS 100
#define DURATIONS 1024

struct difference {
	struct sp_unwind_result ours, theirs;
	uint64_t our_frames[FRAMES_MAX], their_frames[FRAMES_MAX];
};

static atomic_ullong samples, identical, complete, right, frames_walked;
static atomic_ullong ends[ENDS];
static atomic_ullong durations[2][DURATIONS];
static atomic_uint difference_count;
static struct difference differences[DIFFERENCES_MAX];

static void count_duration(unsigned int whose, uint64_t start_ns)
{
	uint64_t step = (sp_clock_monotonic_ns() - start_ns) / DURATION_STEP_NS;

	atomic_fetch_add(&durations[whose][step < DURATIONS ? step : DURATIONS - 1], 1);
}

static void keep(struct sp_unwind_result ours, const uint64_t *our_frames,
		 struct sp_unwind_result theirs, const uint64_t *their_frames)
{
	unsigned int at = atomic_fetch_add(&difference_count, 1);
	struct difference *difference;

	if (at >= DIFFERENCES_MAX)
		return;
	difference = &differences[at];
	difference->ours = ours;
	difference->theirs = theirs;
	memcpy(difference->our_frames, our_frames, sizeof(difference->our_frames));
	memcpy(difference->their_frames, their_frames, sizeof(difference->their_frames));
}

void sp_oracle_compare(const struct sp_unwind_snapshot *snapshot,
		       const struct sp_unwind_stack *stack, const void *ucontext)
{
	uint64_t our_frames[FRAMES_MAX], their_frames[FRAMES_MAX];
	struct sp_unwind_result ours, theirs;
	struct sp_unwind_regs regs;
	uint64_t start_ns;
	bool is_same;

	start_ns = sp_clock_monotonic_ns();
	sp_unwind_regs_from_ucontext(&regs, ucontext);
	ours = sp_unwind(snapshot, &regs, stack, our_frames, FRAMES_MAX);
	count_duration(0, start_ns);
	atomic_fetch_add(&ends[ours.end < ENDS ? ours.end : 0], 1);
	/* Nobody claims to know code that was loaded a moment ago. */
	if (ours.end == SP_UNWIND_NO_MODULE)
		return;
	start_ns = sp_clock_monotonic_ns();
	theirs = sp_unwind_libunwind(snapshot, ucontext, true, their_frames, FRAMES_MAX);
	count_duration(1, start_ns);
	atomic_fetch_add(&samples, 1);
	atomic_fetch_add(&frames_walked, ours.depth_frames);
	if (ours.end == SP_UNWIND_OUTERMOST)
		atomic_fetch_add(&complete, 1);
	is_same = ours.depth_frames == theirs.depth_frames &&
		  memcmp(our_frames, their_frames,
			 ours.depth_frames * sizeof(our_frames[0])) == 0;
	if (!is_same) {
		keep(ours, our_frames, theirs, their_frames);
		return;
	}
	atomic_fetch_add(&identical, 1);
	if (ours.end == SP_UNWIND_OUTERMOST)
		atomic_fetch_add(&right, 1);
}

uint64_t sp_oracle_samples(void)
{
	return atomic_load(&samples);
}

void sp_oracle_reset(void)
{
	atomic_store(&samples, 0);
	atomic_store(&identical, 0);
	atomic_store(&complete, 0);
	atomic_store(&right, 0);
	atomic_store(&frames_walked, 0);
	atomic_store(&difference_count, 0);
	for (unsigned int i = 0; i < ENDS; i++)
		atomic_store(&ends[i], 0);
	for (unsigned int i = 0; i < DURATIONS; i++) {
		atomic_store(&durations[0][i], 0);
		atomic_store(&durations[1][i], 0);
	}
}

/* The duration in ns that permille of all walks did not exceed. */
static uint64_t quantile_ns(unsigned int whose, uint64_t permille)
{
	uint64_t total = 0, seen = 0;

	for (unsigned int i = 0; i < DURATIONS; i++)
		total += atomic_load(&durations[whose][i]);
	for (uint64_t i = 0; i < DURATIONS; i++) {
		seen += atomic_load(&durations[whose][i]);
		if (seen * 1000 >= total * permille)
			return (i + 1) * DURATION_STEP_NS;
	}
	return 0;
}

static void report_frame(int fd, const struct sp_unwind_result *walk,
			 const uint64_t *frames, uint32_t at, sp_oracle_name name)
{
	const char *path, *slash;

	if (at >= walk->depth_frames) {
		dprintf(fd, " %-40s", "-");
		return;
	}
	path = name(sp_frame_module(frames[at]));
	slash = strrchr(path, '/');
	dprintf(fd, " %24s+%-15llx", slash ? slash + 1 : path,
		(unsigned long long)sp_frame_offset(frames[at]));
}

static void report_difference(int fd, const struct difference *difference,
			      sp_oracle_name name)
{
	uint32_t depth = difference->ours.depth_frames > difference->theirs.depth_frames
				 ? difference->ours.depth_frames
				 : difference->theirs.depth_frames;

	dprintf(fd, "difference: ours ends %d, theirs %d\n", (int)difference->ours.end,
		(int)difference->theirs.end);
	for (uint32_t i = 0; i < depth && i < FRAMES_MAX; i++) {
		bool is_same = i < difference->ours.depth_frames &&
			       i < difference->theirs.depth_frames &&
			       difference->our_frames[i] == difference->their_frames[i];

		dprintf(fd, "  %c%3u", is_same ? ' ' : '*', i);
		report_frame(fd, &difference->ours, difference->our_frames, i, name);
		report_frame(fd, &difference->theirs, difference->their_frames, i, name);
		dprintf(fd, "\n");
	}
}

static void report_number(int fd, const char *what, uint64_t number)
{
	dprintf(fd, "%s %llu\n", what, (unsigned long long)number);
}

void sp_oracle_report(int fd, sp_oracle_name name)
{
	static const char *const end_names[ENDS] = {"end_outermost", "end_full",
						    "end_no_module", "end_no_rule",
						    "end_bad_stack"};
	uint32_t kept = atomic_load(&difference_count);

	report_number(fd, "samples", atomic_load(&samples));
	report_number(fd, "identical", atomic_load(&identical));
	report_number(fd, "complete", atomic_load(&complete));
	report_number(fd, "right", atomic_load(&right));
	report_number(fd, "frames", atomic_load(&frames_walked));
	for (unsigned int i = 0; i < ENDS; i++)
		report_number(fd, end_names[i], atomic_load(&ends[i]));
	report_number(fd, "ours_p50_ns", quantile_ns(0, 500));
	report_number(fd, "ours_p99_ns", quantile_ns(0, 990));
	report_number(fd, "theirs_p50_ns", quantile_ns(1, 500));
	report_number(fd, "theirs_p99_ns", quantile_ns(1, 990));
	for (uint32_t i = 0; i < kept && i < DIFFERENCES_MAX; i++)
		report_difference(fd, &differences[i], name);
}
