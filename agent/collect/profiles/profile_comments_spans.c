/*
 * What the profiles of spans say about themselves: what is measured and what is
 * estimated, how sums are to be read, what is missing. Context: collector.
 */
#include "profile_comments_spans.h"

#include "profile_common.h"
#include "sp_compiler.h"

static void say(struct sp_profile_comments *comments, const char *text)
{
	struct sp_text line;

	sp_comment_begin(&line, comments);
	sp_text_string(&line, text);
}

static void say_untracked(struct sp_profile_comments *comments,
			  const struct sp_recording_header *header)
{
	static const struct {
		uint32_t untracked;
		const char *text;
	} lines[] = {
		{SP_UNTRACKED_WALL,
		 "wall, wall_busy, wall_idle: not tracked (track_wall)"},
		{SP_UNTRACKED_CPU, "cpu, cpu_user, cpu_sys: not tracked (track_cpu)"},
		{SP_UNTRACKED_ALLOCATIONS,
		 "alloc_objects, alloc_space: not tracked (track_allocations)"},
		{SP_UNTRACKED_HEAP,
		 "inuse_objects, inuse_space: not tracked (track_heap)"},
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(lines); i++)
		if (header->span_untracked & lines[i].untracked)
			say(comments, lines[i].text);
}

static void say_values(struct sp_profile_comments *comments,
		       const struct sp_span_values *values,
		       const struct sp_heap_values *heap)
{
	const struct sp_recording_header *header = values->recording->header;

	say(comments,
	    "stack: a span in the spans around it, by the places that make them; "
	    "spans: how many of them were closed");
	say(comments,
	    "wall_busy, wall_idle (exact): of each thread in it, or created but "
	    "with no thread in it; wall is both");
	say(comments,
	    header->has_exact_span_cpu
		    ? "cpu (exact): of the threads while they were in the span, without "
		      "what reading their clocks takes"
		    : "cpu (estimate): from samples, as clocks are not read at each span "
		      "(span:cpu=off)");
	say(comments,
	    "wall_busy, cpu: flat is without the spans inside, cumulative is all; "
	    "idle and allocations are each span's own");
	say(comments,
	    "cpu_user, cpu_sys (estimate): cpu, in proportion to the samples of "
	    "both kinds");
	if (!heap) {
		say(comments, "alloc, inuse: unknown, as there is no heap profile");
		return;
	}
	say(comments, "alloc_objects, alloc_space (exact): allocated while the span was "
		      "the innermost of its thread");
	say(comments,
	    heap->rate_bytes <= 1
		    ? "inuse_objects, inuse_space (exact): of these, what is in "
		      "use now"
		    : "inuse_objects, inuse_space (estimate): of these, what is "
		      "in use now, from the samples of the heap profile");
}

static bool says_part(struct sp_profile_comments *comments,
		      const struct sp_recording_header *header, struct sp_text *line)
{
	uint64_t millionths = header->span_probability_millionths;

	if (!millionths || millionths >= 1000000)
		return false;
	sp_comment_begin(line, comments);
	sp_text_string(line, "sampling: a part of ");
	sp_comment_decimal(line, millionths, 6);
	sp_text_string(line, " of all outermost spans was followed (span:sampler)");
	return true;
}

static void say_sampling(struct sp_profile_comments *comments,
			 const struct sp_span_values *values)
{
	struct sp_text line;

	if (!says_part(comments, values->recording->header, &line))
		return;
	sp_text_string(&line, "; all values, but those of the process's own span, "
			      "are multiplied by ");
	sp_comment_decimal(&line, sp_profile_integer(values->scale * 1e4 + 0.5), 4);
	sp_text_string(&line, ", and are estimates");
}

void sp_span_comments_add_sampling(struct sp_profile_comments *comments,
				   const struct sp_recording_header *header)
{
	struct sp_text line;

	if (says_part(comments, header, &line))
		sp_text_string(&line, "; samples of the others carry no span_name");
}

static void say_excess(struct sp_profile_comments *comments, const char *what,
		       const struct sp_span_excess *excess)
{
	struct sp_text line;

	if (!excess->paths)
		return;
	sp_comment_begin(&line, comments);
	sp_text_string(&line, what);
	sp_text_string(&line, ": spans ran beside the one around them in ");
	sp_text_decimal(&line, excess->paths);
	sp_text_string(&line, " places and took ");
	sp_text_decimal(&line, excess->ns);
	sp_text_string(&line, " ns more than it; its flat time is 0, its cumulative time "
			      "too long by that");
}

/* Of a killed process nobody knows when that was. */
static void say_entered(struct sp_profile_comments *comments,
			const struct sp_recording_header *header, uint64_t entered_spans)
{
	struct sp_text line;

	sp_comment_begin(&line, comments);
	sp_text_string(&line, "unfinished: ");
	sp_text_decimal(&line, entered_spans);
	sp_text_string(&line, " of them had a thread in them; ");
	sp_text_string(
		&line,
		sp_atomic_value(&header->are_clocks_final)
			? "what it did there is counted until now"
			: "its time there is counted until the last sign of life of the "
			  "killed process, its cpu and allocations until the profiler "
			  "looked last, a second or less before");
}

static void say_unfinished(struct sp_profile_comments *comments,
			   const struct sp_recording_header *header,
			   const struct sp_span_totals *totals)
{
	struct sp_text line;

	if (totals->open_spans) {
		sp_comment_begin(&line, comments);
		sp_text_string(&line, "unfinished: ");
		sp_text_decimal(&line, totals->open_spans);
		sp_text_string(&line, " spans were open when this profile was made");
	}
	if (totals->entered_spans)
		say_entered(comments, header, totals->entered_spans);
	if (totals->held_spans) {
		sp_comment_begin(&line, comments);
		sp_text_string(&line, "held: ");
		sp_text_decimal(&line, totals->held_spans);
		sp_text_string(&line, " closed spans have memory in use");
	}
}

static void say_cost(struct sp_profile_comments *comments,
		     const struct sp_recording_header *header)
{
	struct sp_text line;

	sp_comment_begin_cost(&line, comments, sp_atomic_value(&header->agent_cpu_ns),
			      sp_atomic_value(&header->process_cpu_ns));
	sp_text_string(&line, "; entering and leaving spans is not in it, and not "
			      "measured");
}

static void say_losses(struct sp_profile_comments *comments,
		       const struct sp_recording_header *header)
{
	static const char *const meanings[SP_LOSS_COUNT] = {
		[SP_LOSS_SPAN_NO_ROOM] = "spans, or stays in them, not followed: no room "
					 "(SPANPROF_RECORDING_SIZE)",
		[SP_LOSS_SPAN_MISUSE] =
			"calls that made no sense, such as leaving a span "
			"that was not entered; healed",
		[SP_LOSS_SPAN_EVICTED] = "closed spans no longer told from each other, "
					 "though memory of theirs is in use "
					 "(max_closed_heap_spans)",
	};

	sp_comments_add_losses(comments, header, meanings);
}

void sp_span_comments_fill(struct sp_profile_comments *comments,
			   const struct sp_span_values *values,
			   const struct sp_heap_values *heap)
{
	const struct sp_recording_header *header = values->recording->header;

	sp_comments_begin(comments, "spans", header);
	say_values(comments, values, heap);
	say_untracked(comments, header);
	if (!sp_atomic_value(&header->span_ticks_per_second))
		say(comments, "wall is unknown: the program ended before its clock was "
			      "compared with real time");
	say_sampling(comments, values);
	say_excess(comments, "wall_busy", &values->totals.busy);
	say_excess(comments, "cpu", &values->totals.cpu);
	say_unfinished(comments, header, &values->totals);
	say_cost(comments, header);
	say_losses(comments, header);
}
