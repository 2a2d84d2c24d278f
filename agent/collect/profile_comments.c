/*
 * The comments of a CPU profile: whose it is, how well it was sampled, what was
 * lost. Context: collector. What does not fit a line is cut; what does not fit the
 * list replaces its last line.
 */
#include "profile_comments.h"

#include "sp_text.h"

#define GROUPS_SHOWN 8

static void begin(struct sp_text *line, struct sp_profile_comments *comments)
{
	uint32_t index = comments->count < SP_COMMENTS_MAX - 1 ? comments->count
							       : SP_COMMENTS_MAX - 1;

	sp_text_init(line, comments->bytes[index], SP_COMMENT_BYTES);
	comments->lines[index] = comments->bytes[index];
	comments->count = index + 1;
}

/* value / 10^digits with that many decimals. */
static void say_decimal(struct sp_text *line, uint64_t value, unsigned int digits)
{
	uint64_t scale = 1;

	for (unsigned int i = 0; i < digits; i++)
		scale *= 10;
	sp_text_decimal(line, value / scale);
	if (digits)
		sp_text_string(line, ".");
	for (scale /= 10; scale; scale /= 10)
		sp_text_decimal(line, value / scale % 10);
}

static void say_percent(struct sp_text *line, uint64_t part, uint64_t whole)
{
	say_decimal(line,
		    whole ? sp_profile_integer((double)part * 1e4 / (double)whole + 0.5)
			  : 0,
		    2);
	sp_text_string(line, " %");
}

static void say_process(struct sp_profile_comments *comments,
			const struct sp_recording_header *header)
{
	struct sp_text line;
	size_t end = sizeof(header->command_line);

	while (end && header->command_line[end - 1] == '\0')
		end--;
	begin(&line, comments);
	sp_text_string(&line, "command: ");
	for (size_t i = 0; i < end; i++)
		sp_text_char(&line,
			     header->command_line[i] ? header->command_line[i] : ' ');
	begin(&line, comments);
	sp_text_string(&line, "process: ");
	sp_text_decimal(&line, header->pid);
	sp_text_string(&line, ", user ");
	say_decimal(&line, sp_atomic_value(&header->process_user_ns) / 1000000, 3);
	sp_text_string(&line, " s, system ");
	say_decimal(&line, sp_atomic_value(&header->process_system_ns) / 1000000, 3);
	sp_text_string(&line, " s (the kernel's)");
	if (header->earlier_cpu_ns) {
		begin(&line, comments);
		sp_text_string(&line, "not shown: ");
		say_decimal(&line, header->earlier_cpu_ns / 1000000, 3);
		sp_text_string(&line,
			       " s of CPU time from before this program's start (exec)");
	}
}

static void say_rate(struct sp_profile_comments *comments,
		     const struct sp_recording_header *header,
		     const struct sp_cpu_totals *totals)
{
	uint64_t sampled_ns = totals->cpu_ns - totals->agent_ns - totals->unsampled_ns;
	struct sp_text line;

	begin(&line, comments);
	sp_text_string(&line, "sampling: every ");
	sp_text_decimal(&line, header->cpu_period_ns);
	sp_text_string(&line, " ns of a thread's CPU time asked for; real rate ");
	say_decimal(&line,
		    sampled_ns ? sp_profile_integer((double)totals->samples * 1e11 /
						    (double)sampled_ns)
			       : 0,
		    2);
	sp_text_string(&line, " Hz (the kernel's tick bounds it)");
	begin(&line, comments);
	sp_text_string(&line, "mode (user, kernel) of a sample is an estimate from the "
			      "interrupted state");
	begin(&line, comments);
	sp_text_string(&line, "unsampled: ");
	say_percent(&line, totals->unsampled_ns, totals->cpu_ns);
	sp_text_string(&line, " of CPU time, shown as [unsampled]");
	begin(&line, comments);
	sp_text_string(&line, "cost of looking: agent thread ");
	say_percent(&line, totals->agent_ns, totals->cpu_ns);
	sp_text_string(&line, " of CPU time (shown as [spanprof]), signal handler ");
	say_percent(&line, totals->handler_ns, totals->cpu_ns);
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

		begin(&line, comments);
		sp_text_string(&line, "scale: threads of entry 0x");
		sp_text_hex(&line, sp_atomic_value(&group->entry_address));
		sp_text_string(&line, ": ");
		sp_text_decimal(&line, sum->samples);
		sp_text_string(&line, " samples times ");
		say_decimal(&line, sp_profile_integer(scale * 1e4 + 0.5), 4);
		sp_text_string(&line, " to their exact ");
		say_decimal(&line, sum->exact_ns / 1000000, 3);
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
		[SP_LOSS_NO_SPACE] = "requests for storage refused",
		[SP_LOSS_NO_MODULE_ID] = "modules beyond the module table",
		[SP_LOSS_DAMAGED] = "records that could not be read",
	};

	for (unsigned int i = 0; i < SP_LOSS_COUNT; i++) {
		uint64_t count = sp_atomic_value(&header->losses[i]);
		struct sp_text line;

		/* Those of the heap stand in the heap's profiles. */
		if (!count || !meanings[i])
			continue;
		begin(&line, comments);
		sp_text_string(&line, "loss: ");
		sp_text_decimal(&line, count);
		sp_text_string(&line, " ");
		sp_text_string(&line, meanings[i]);
	}
}

void sp_profile_comments_fill(struct sp_profile_comments *comments,
			      const struct sp_recording *recording,
			      const struct sp_cpu_totals *totals,
			      const struct sp_group_sum *groups)
{
	comments->count = 0;
	say_process(comments, recording->header);
	say_rate(comments, recording->header, totals);
	say_scales(comments, recording, groups);
	say_losses(comments, recording->header);
}
