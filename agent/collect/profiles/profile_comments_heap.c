/*
 * Lines about the heap. What a sampled profile estimates is known exactly for the sum
 * over the whole program, so that each profile says how far off it is, and how far
 * off it had to be expected. Context: collector.
 */
#include "profile_comments_heap.h"

#include "profile_comments_spans.h"
#include "profile_common.h"

static void say(struct sp_profile_comments *comments, const char *text)
{
	struct sp_text line;

	sp_comment_begin(&line, comments);
	sp_text_string(&line, text);
}

static void say_sampling(struct sp_profile_comments *comments,
			 const struct sp_heap_values *values)
{
	struct sp_text line;

	if (values->rate_bytes <= 1) {
		say(comments,
		    "sampling: none, every allocation is recorded (heap:rate=1)");
		return;
	}
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "sampling: a point every ");
	sp_text_decimal(&line, values->rate_bytes);
	sp_text_string(&line, " allocated bytes, on average; a block of S bytes that "
			      "meets one counts as 1 / (1 - exp(-S / ");
	sp_text_decimal(&line, values->rate_bytes);
	sp_text_string(&line, ")) blocks: values are estimates");
}

static void say_exact(struct sp_profile_comments *comments,
		      const struct sp_heap_totals *totals)
{
	struct sp_text line;

	sp_comment_begin(&line, comments);
	sp_text_string(&line, "exact: ");
	sp_text_decimal(&line, totals->exact_bytes);
	sp_text_string(&line, " bytes in ");
	sp_text_decimal(&line, totals->exact_allocations);
	sp_text_string(&line, " allocations, ");
	sp_text_decimal(&line, totals->exact_frees);
	sp_text_string(&line, " frees (counted, not sampled; a realloc is one of each)");
}

/* Where blocks are sampled a call is mostly counted before it is made. */
static void say_failures(struct sp_profile_comments *comments,
			 const struct sp_heap_values *values)
{
	uint64_t failures = sp_atomic_value(&values->recording->header->heap_failures);
	struct sp_text line;

	if (!failures || values->rate_bytes <= 1)
		return;
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "failed: ");
	sp_text_decimal(&line, failures);
	sp_text_string(&line, " calls that are in no number; of small ones that failed "
			      "before these, the exact numbers may hold some: in a row, "
			      "up to a distance between two points of sampling");
}

/* Constructors of libraries that are initialised before us. */
static void say_early(struct sp_profile_comments *comments,
		      const struct sp_recording_header *header)
{
	struct sp_text line;

	if (!header->early_heap_allocations)
		return;
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "before: ");
	sp_text_decimal(&line, header->early_heap_bytes);
	sp_text_string(&line, " bytes in ");
	sp_text_decimal(&line, header->early_heap_allocations);
	sp_text_string(&line, " allocations, ");
	sp_text_decimal(&line, header->early_heap_frees);
	sp_text_string(&line, " frees in constructors of other libraries that ran before "
			      "the profiler's: in no profile, and of these blocks only "
			      "later frees are in the exact numbers");
}

static void say_fork(struct sp_profile_comments *comments,
		     const struct sp_recording_header *header)
{
	if (header->is_fork_child)
		say(comments,
		    "fork: this process began as a copy of another; blocks that "
		    "were allocated before that are in no profile of it, and "
		    "of them only later frees are in the exact numbers");
}

/* Whoever has an allocator of his own, or maps memory himself, sees it here. */
static void say_memory(struct sp_profile_comments *comments,
		       const struct sp_heap_values *values)
{
	uint64_t bytes = sp_atomic_value(&values->recording->header->anonymous_bytes);
	struct sp_text line;

	if (!bytes)
		return;
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "memory: ");
	sp_text_decimal(&line, bytes);
	sp_text_string(&line, " bytes of resident anonymous memory (the kernel's), of "
			      "which malloc() had given out ");
	sp_text_decimal(&line,
			sp_profile_integer(values->totals.of[SP_HEAP_INUSE_BYTES] + 0.5));
	sp_text_string(&line, "; the rest is free heap, stacks, the agent, and what the "
			      "program maps or allocates by other ways, which is not "
			      "seen here");
}

/* How far the estimate is from the truth, and how far such estimates are. */
static void say_estimate(struct sp_profile_comments *comments,
			 const struct sp_heap_totals *totals)
{
	double exact_bytes = (double)totals->exact_bytes;
	double estimate_bytes = totals->of[SP_HEAP_ALLOC_BYTES];
	double error_bytes = totals->standard_error_bytes;
	double distance_bytes = estimate_bytes - exact_bytes;
	struct sp_text line;

	if (totals->of[SP_HEAP_ALLOC_OBJECTS] <= 0) {
		say(comments, "estimate: none, no allocation was sampled");
		return;
	}
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "estimate: ");
	sp_text_decimal(&line, sp_profile_integer(estimate_bytes + 0.5));
	sp_text_string(&line, " bytes allocated");
	if (totals->exact_bytes) {
		sp_text_string(&line, ", ");
		sp_comment_decimal(
			&line,
			sp_profile_integer(estimate_bytes / exact_bytes * 1e4 + 0.5), 4);
		sp_text_string(&line, " times the exact number");
	}
	if (error_bytes > 0) {
		sp_text_string(&line, "; its standard error is ");
		sp_text_decimal(&line, sp_profile_integer(error_bytes + 0.5));
		sp_text_string(&line, " bytes (");
		sp_comment_percent(&line, error_bytes, exact_bytes);
		sp_text_string(&line, "), it is ");
		sp_comment_decimal(
			&line,
			sp_profile_integer(
				(distance_bytes < 0 ? -distance_bytes : distance_bytes) /
					error_bytes * 100 +
				0.5),
			2);
		sp_text_string(&line,
			       distance_bytes < 0
				       ? " standard errors below the exact number"
				       : " standard errors above the exact number");
	}
}

/* Of a killed process its samples may tell of more time than its clock, last read. */
static void say_cost(struct sp_profile_comments *comments,
		     const struct sp_heap_values *values)
{
	const struct sp_recording_header *header = values->recording->header;
	uint64_t agent_ns = sp_atomic_value(&header->agent_cpu_ns);
	uint64_t cpu_ns = sp_atomic_value(&header->process_cpu_ns);
	uint64_t recording_ns = 0;
	struct sp_text line;

	if (values->cycles_per_second)
		recording_ns =
			sp_profile_integer((double)values->totals.cost_cycles * 1e9 /
					   (double)values->cycles_per_second);
	if (cpu_ns && cpu_ns < agent_ns + recording_ns)
		cpu_ns = agent_ns + recording_ns;
	sp_comment_begin_cost(&line, comments, agent_ns, cpu_ns);
	sp_text_string(&line, ", recording samples and their ends ");
	if (cpu_ns && values->cycles_per_second) {
		sp_comment_percent(&line, (double)recording_ns, (double)cpu_ns);
		sp_text_string(&line, " (estimate)");
	} else {
		sp_text_string(&line, "unknown");
	}
	sp_text_string(&line, "; counting each call is not in it, and not measured");
}

static void say_moment(struct sp_text *line, uint64_t since_start_ns)
{
	sp_comment_decimal(line, since_start_ns / 1000000, 3);
	sp_text_string(line, " s");
}

/* The highest of many estimates is one of those that are too high. */
static void say_peak_error(struct sp_profile_comments *comments,
			   const struct sp_heap_totals *totals)
{
	double peak_bytes = totals->of[SP_HEAP_PEAK_BYTES];
	struct sp_text line;

	if (totals->peak_error_bytes <= 0 || peak_bytes <= 0)
		return;
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "peak error: the standard error of one estimate is ");
	sp_text_decimal(&line, sp_profile_integer(totals->peak_error_bytes + 0.5));
	sp_text_string(&line, " bytes (");
	sp_comment_percent(&line, totals->peak_error_bytes, peak_bytes);
	sp_text_string(
		&line,
		totals->is_peak_now
			? ")"
			: "); the highest of many is too high, by two of these or so "
			  "if what is in use changes all the time");
}

static void say_peak(struct sp_profile_comments *comments,
		     const struct sp_heap_totals *totals, bool is_exact)
{
	struct sp_text line;

	sp_comment_begin(&line, comments);
	sp_text_string(&line, "peak: ");
	sp_text_decimal(&line, sp_profile_integer(totals->of[SP_HEAP_PEAK_BYTES] + 0.5));
	sp_text_string(&line, " bytes in use ");
	if (totals->is_peak_now) {
		sp_text_string(&line, "now, when this profile was made");
	} else {
		sp_text_string(&line, "at high-water mark number ");
		sp_text_decimal(&line, totals->peak_epoch);
		if (totals->peak_after_ns) {
			sp_text_string(&line, ", later than ");
			say_moment(&line, totals->peak_after_ns);
		}
		if (totals->peak_before_ns != UINT64_MAX) {
			sp_text_string(&line, totals->peak_after_ns ? " and before "
								    : ", before ");
			say_moment(&line, totals->peak_before_ns);
		}
		if (totals->peak_after_ns || totals->peak_before_ns != UINT64_MAX)
			sp_text_string(&line, " from the start");
	}
	say(comments,
	    is_exact ? "peak rule: looked for whenever a block is freed; a new "
		       "mark is more than 1/1024 above the last, and threads "
		       "tell what they have in use in steps, so that the true "
		       "peak may be 1 % higher"
		     : "peak rule: looked for whenever a sampled block is freed; "
		       "a new mark is more than 1/1024 above the last, so that "
		       "what is shown may be that much less than the highest estimate");
	if (!is_exact)
		say_peak_error(comments, totals);
}

static void say_lifetimes(struct sp_profile_comments *comments,
			  const struct sp_heap_values *values)
{
	say(comments, "freed_objects, freed_space: blocks that have been freed; those in "
		      "use are in the heap profile");
	say(comments, "short_lived_objects, short_lived_space: of these, blocks freed "
		      "within 1 ms of their allocation");
	say(comments,
	    "cross_thread_objects: of these, blocks freed by another thread than "
	    "the one that allocated them");
	say(comments,
	    "total_age: the sum of the ages at which they were freed; divided by "
	    "freed_objects it is the mean age");
	if (!values->cycles_per_second)
		say(comments, "ages are unknown, and short-lived is a guess: the program "
			      "ended before its clock was compared with real time");
}

static void say_losses(struct sp_profile_comments *comments,
		       const struct sp_recording_header *header)
{
	static const char *const meanings[SP_LOSS_COUNT] = {
		[SP_LOSS_HEAP_STACK] = "samples dropped, shown as [dropped]: the "
				       "recording is full (SPANPROF_RECORDING_SIZE)",
		[SP_LOSS_HEAP_UNTRACKED] =
			"sampled blocks not followed, shown as allocated but neither in "
			"use nor freed: no room (SPANPROF_RECORDING_SIZE), or no "
			"memory to find them by",
		[SP_LOSS_HEAP_STALE] =
			"sampled blocks gone stale, freed in a way that cannot be seen; "
			"shown in use until their address came again",
		[SP_LOSS_HEAP_REENTERED] =
			"samples dropped: allocated in a signal handler that interrupted "
			"the profiler",
		[SP_LOSS_HEAP_LEFT] =
			"samples left unfinished by a jump out of a signal handler: "
			"counted, perhaps not followed",
		[SP_LOSS_HEAP_NO_THREAD] = "allocations that were only counted: in "
					   "threads that the profiler cannot follow",
		[SP_LOSS_HEAP_CUT] = "stacks cut at the depth limit (SPANPROF_DEPTH)",
		[SP_LOSS_HEAP_SHORT] = "stacks that could not be walked to their root",
	};

	sp_comments_add_losses(comments, header, meanings);
}

/* Why the hooks meet none of the allocations, or not all; NULL: they do. */
static const char *describe_coverage(uint64_t coverage, bool has_any)
{
	switch (coverage) {
	case SP_HEAP_PROGRAM_HAS_OWN:
		return has_any ? "perhaps not all covered: the program defines malloc() "
				 "itself; the profiler sees what that, or a library, "
				 "takes from the malloc() behind it"
			       : "not covered: the program defines malloc() itself, so "
				 "that the profiler does not see its allocations";
	case SP_HEAP_LIBRARY_FIRST:
		return has_any ? "perhaps not all covered: a library that comes before "
				 "the profiler defines malloc(); the profiler sees what "
				 "that takes from the malloc() behind it"
			       : "not covered: a library that comes before the profiler "
				 "defines malloc(), so that it does not see the "
				 "program's allocations";
	case SP_HEAP_PROGRAM_CALLS_NONE:
		return "perhaps not covered: the program itself calls no allocation "
		       "function of a library; if it has an allocator inside, what "
		       "that gives out is not seen here";
	case SP_HEAP_OTHER_NAMES:
		return "not all covered: the program calls its allocator by names of "
		       "that one's own, too, like tc_malloc() or mi_malloc(); what these "
		       "give out is not seen here";
	default:
		return has_any ? NULL
			       : "perhaps not covered: not one allocation was seen; "
				 "there was "
				 "none, or whoever runs the program has put another "
				 "malloc() in place of all, as valgrind does";
	}
}

static void say_coverage(struct sp_profile_comments *comments,
			 const struct sp_heap_values *values)
{
	const struct sp_recording_header *header = values->recording->header;
	const char *text = describe_coverage(sp_atomic_value(&header->heap_coverage),
					     values->totals.exact_allocations ||
						     header->early_heap_allocations);

	if (text)
		say(comments, text);
}

void sp_heap_comments_fill(struct sp_profile_comments *comments, enum sp_heap_view which,
			   const char *kind, const struct sp_heap_values *values)
{
	const struct sp_recording_header *header = values->recording->header;

	sp_comments_begin(comments, kind, header);
	say_sampling(comments, values);
	say_exact(comments, &values->totals);
	say_failures(comments, values);
	say_early(comments, header);
	say_fork(comments, header);
	say_estimate(comments, &values->totals);
	say_memory(comments, values);
	say_cost(comments, values);
	if (which == SP_HEAP_VIEW_PEAK)
		say_peak(comments, &values->totals, values->rate_bytes <= 1);
	if (which == SP_HEAP_VIEW_LIFETIMES)
		say_lifetimes(comments, values);
	if (which == SP_HEAP_VIEW_LEAKS)
		say(comments, "leaks: what was in use when this profile was made; that "
			      "the program still reaches it cannot be told");
	say_coverage(comments, values);
	sp_span_comments_add_sampling(comments, header);
	say_losses(comments, header);
}
