/*
 * The comments of a CPU profile: whose it is, how well it was sampled, what was
 * lost. Context: collector.
 */
#include "profile_comments_cpu.h"

#include "profile_comments_spans.h"
#include "profile_common.h"
#include "sp_frame.h"
#include "sp_recording_reader.h"

#include <string.h>

#define GROUPS_SHOWN 8

static void say_rate(struct sp_profile_comments *comments,
		     const struct sp_recording_header *header,
		     const struct sp_cpu_totals *totals)
{
	uint64_t sampled_ns = totals->cpu_ns - totals->agent_ns - totals->unsampled_ns -
			      totals->kernel_workers_ns;
	struct sp_text line;

	sp_comment_begin(&line, comments);
	sp_text_string(&line, "sampling: every ");
	sp_text_decimal(&line, header->cpu_period_ns);
	sp_text_string(&line, " ns of a thread's CPU time asked for; real rate ");
	sp_comment_decimal(&line,
			   sampled_ns ? sp_profile_integer((double)totals->samples *
							   1e11 / (double)sampled_ns)
				      : 0,
			   2);
	sp_text_string(&line, " Hz (the kernel's tick bounds it)");
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "mode (user, kernel) of a sample is an estimate from the "
			      "interrupted state");
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "unsampled: ");
	sp_comment_percent(&line, (double)totals->unsampled_ns, (double)totals->cpu_ns);
	sp_text_string(&line, " of CPU time, shown as [unsampled]");
	if (totals->kernel_workers_ns) {
		sp_comment_begin(&line, comments);
		sp_text_string(&line, "kernel workers: ");
		sp_comment_percent(&line, (double)totals->kernel_workers_ns,
				   (double)totals->cpu_ns);
		sp_text_string(&line, " of CPU time, exact, without stacks (threads of "
				      "io_uring or vhost), shown as [kernel worker]");
	}
	sp_comment_begin_cost(&line, comments, totals->agent_ns, totals->cpu_ns);
	sp_text_string(&line, " (shown as [spanprof]), signal handler ");
	sp_comment_percent(&line, (double)totals->handler_ns, (double)totals->cpu_ns);
}

/* The groups with the most time, by insertion. Returns how many. */
static unsigned int find_largest(const struct sp_group_sum *groups,
				 uint32_t order[GROUPS_SHOWN])
{
	unsigned int count = 0;

	for (uint32_t i = 0; i < SP_GROUPS; i++) {
		unsigned int at;

		if (!groups[i].periods)
			continue;
		if (count < GROUPS_SHOWN)
			at = count++;
		else if (groups[order[count - 1]].exact_ns < groups[i].exact_ns)
			at = count - 1;
		else
			continue;
		for (; at && groups[order[at - 1]].exact_ns < groups[i].exact_ns; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
	return count;
}

/* Where code is, in terms that outlive the process: "module+0xoffset". Its address alone
 * may by now be another module's. */
static void say_place(struct sp_text *line, const struct sp_recording *recording,
		      const struct sp_group *group)
{
	uint64_t frame = sp_atomic_value(&group->entry_frame);
	uint16_t module = sp_frame_module(frame);

	if (module == SP_MODULE_NONE ||
	    module > sp_recording_used(recording, SP_SECTION_MODULES)) {
		sp_text_string(line, "0x");
		sp_text_hex(line, sp_atomic_value(&group->entry_address));
	} else {
		const struct sp_module_record *record = sp_recording_item(
			recording, SP_SECTION_MODULES, module - UINT64_C(1));
		const char *path = sp_recording_string(recording, record->path);
		const char *slash = strrchr(path, '/');

		sp_text_string(line, slash ? slash + 1 : path);
		sp_text_string(line, "+0x");
		sp_text_hex(line, sp_frame_offset(frame));
	}
}

/* Scale factors tell how far the sampled sum was from the exact time. */
static void say_scales(struct sp_profile_comments *comments,
		       const struct sp_recording *recording,
		       const struct sp_group_sum *groups)
{
	const double period_ns = (double)recording->header->cpu_period_ns;
	uint32_t order[GROUPS_SHOWN];
	unsigned int count = find_largest(groups, order);

	for (unsigned int i = 0; i < count; i++) {
		const struct sp_group_sum *sum = &groups[order[i]];
		const struct sp_group *group =
			sp_recording_item(recording, SP_SECTION_GROUPS, order[i]);
		double scale = (double)sum->exact_ns / ((double)sum->periods * period_ns);
		struct sp_text line;

		sp_comment_begin(&line, comments);
		/* That nobody saw start, or that were too many different ones. */
		if (order[i] == SP_GROUP_UNKNOWN) {
			sp_text_string(&line, "scale: threads of unknown entry");
		} else {
			sp_text_string(&line, "scale: threads of entry ");
			say_place(&line, recording, group);
		}
		sp_text_string(&line, ": ");
		sp_text_decimal(&line, sum->samples);
		sp_text_string(&line, " samples times ");
		sp_comment_decimal(&line, sp_profile_integer(scale * 1e4 + 0.5), 4);
		sp_text_string(&line, " to their exact ");
		sp_comment_decimal(&line, sum->exact_ns / 1000000, 3);
		sp_text_string(&line, " s");
	}
}

static void say_losses(struct sp_profile_comments *comments,
		       const struct sp_recording_header *header)
{
	static const char *const meanings[SP_LOSS_COUNT] = {
		[SP_LOSS_NO_RING] = "samples dropped: no ring was free",
		[SP_LOSS_RING_FULL] = "samples dropped: the thread's ring was full",
		[SP_LOSS_TABLE_FULL] = "samples dropped: the recording is full "
				       "(SPANPROF_RECORDING_SIZE)",
		[SP_LOSS_STACK_CUT] = "stacks cut at the depth limit (SPANPROF_DEPTH)",
		[SP_LOSS_STACK_SHORT] = "stacks that could not be walked to their root",
		[SP_LOSS_NO_SLOT] = "threads not sampled: no slot was free",
		[SP_LOSS_NO_TIMER] = "threads not sampled: no timer (ulimit -i); covered "
				     "by the scaling",
		[SP_LOSS_GROUP_FULL] = "threads beyond the table of entry functions",
	};

	sp_comments_add_losses(comments, header, meanings);
}

void sp_cpu_comments_fill(struct sp_profile_comments *comments,
			  const struct sp_recording *recording,
			  const struct sp_cpu_totals *totals,
			  const struct sp_group_sum *groups)
{
	sp_comments_begin(comments, "cpu", recording->header);
	say_rate(comments, recording->header, totals);
	say_scales(comments, recording, groups);
	sp_span_comments_add_sampling(comments, recording->header);
	say_losses(comments, recording->header);
}
