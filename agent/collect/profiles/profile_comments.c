/*
 * Lines of comments in the profile's own memory. Context: collector.
 */
#include "profile_comments.h"

#include "profile_common.h"

void sp_comment_begin(struct sp_text *line, struct sp_profile_comments *comments)
{
	uint32_t index = comments->count < SP_COMMENTS_MAX - 1 ? comments->count
							       : SP_COMMENTS_MAX - 1;

	sp_text_init(line, comments->bytes[index], SP_COMMENT_BYTES);
	comments->lines[index] = comments->bytes[index];
	comments->count = index + 1;
}

void sp_comment_decimal(struct sp_text *line, uint64_t value, unsigned int digits)
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

void sp_comment_percent(struct sp_text *line, double part, double whole)
{
	sp_comment_decimal(
		line, whole > 0 ? sp_profile_integer(part * 1e4 / whole + 0.5) : 0, 2);
	sp_text_string(line, " %");
}

void sp_comment_bytes(struct sp_text *text, uint64_t bytes)
{
	static const char *const units[] = {" KiB", " MiB", " GiB", " TiB"};
	double scaled = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		sp_text_decimal(text, bytes);
		sp_text_string(text, " B");
		return;
	}
	/* 1023.96 would round to 1024.0. */
	while (unit < 3 && scaled >= 1023.95) {
		scaled /= 1024;
		unit++;
	}
	sp_comment_decimal(text, sp_profile_integer(scaled * 10 + 0.5), 1);
	sp_text_string(text, units[unit]);
}

void sp_comments_begin(struct sp_profile_comments *comments, const char *kind,
		       const struct sp_recording_header *header)
{
	struct sp_text line;
	size_t end = sizeof(header->command_line);

	comments->count = 0;
	/* Two kinds may measure the same; "spanprof delta" tells them apart by this. */
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "kind: ");
	sp_text_string(&line, kind);
	while (end && header->command_line[end - 1] == '\0')
		end--;
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "command: ");
	for (size_t i = 0; i < end; i++) {
		unsigned char c = (unsigned char)header->command_line[i];

		/* NUL ends an argument; scripts as arguments have lines, a comment is
		 * one. */
		sp_text_char(&line, c < ' ' || c == 0x7f ? ' ' : (char)c);
	}
	sp_comment_begin(&line, comments);
	sp_text_string(&line, "process: ");
	sp_text_decimal(&line, header->pid);
	sp_text_string(&line, ", user ");
	sp_comment_decimal(&line, sp_atomic_value(&header->process_user_ns) / 1000000, 3);
	sp_text_string(&line, " s, system ");
	sp_comment_decimal(&line, sp_atomic_value(&header->process_system_ns) / 1000000,
			   3);
	/* The samples of a process that was killed, or that goes on, tell of more. */
	sp_text_string(&line,
		       sp_atomic_value(&header->are_clocks_final)
			       ? " s (the kernel's)"
			       : " s (the kernel's, as last read; it ran on since)");
	if (header->earlier_cpu_ns) {
		sp_comment_begin(&line, comments);
		sp_text_string(&line, "not shown: ");
		sp_comment_decimal(&line, header->earlier_cpu_ns / 1000000, 3);
		sp_text_string(&line, " s of CPU time from before the profiler's start, "
				      "an earlier program's (exec) or the loader's");
	}
}

void sp_comment_begin_cost(struct sp_text *line, struct sp_profile_comments *comments,
			   uint64_t agent_ns, uint64_t cpu_ns)
{
	sp_comment_begin(line, comments);
	sp_text_string(line, "cost of looking: agent thread ");
	if (!cpu_ns) {
		sp_text_string(line, "unknown");
		return;
	}
	sp_comment_percent(line, (double)agent_ns, (double)cpu_ns);
	sp_text_string(line, " of CPU time");
}

/* What concerns all kinds of profiles. */
static const char *const common_losses[SP_LOSS_COUNT] = {
	[SP_LOSS_NO_SPACE] = "requests for storage refused",
	[SP_LOSS_SPAN_NO_ROOM] =
		"spans not followed, shown as the span around them: no room "
		"(SPANPROF_RECORDING_SIZE)",
	[SP_LOSS_SPAN_LABELS] =
		"names, labels or ids without room or not readable (yet), shown as "
		"[other] or left out",
	[SP_LOSS_SPAN_NAMELESS] =
		"samples with attributes of otel_thread_ctx_v1 whose keys had no names "
		"yet, or never: their labels are left out",
	[SP_LOSS_NO_MODULE_ID] = "modules too many to be named",
	[SP_LOSS_DAMAGED] = "records that could not be read",
};

void sp_comments_add_losses(struct sp_profile_comments *comments,
			    const struct sp_recording_header *header,
			    const char *const *meanings)
{
	for (unsigned int i = 0; i < SP_LOSS_COUNT; i++) {
		uint64_t count = sp_atomic_value(&header->losses[i]);
		const char *meaning = meanings[i] ? meanings[i] : common_losses[i];
		struct sp_text line;

		/* Some concern other kinds of profiles. */
		if (!count || !meaning)
			continue;
		sp_comment_begin(&line, comments);
		sp_text_string(&line, "loss: ");
		sp_text_decimal(&line, count);
		sp_text_string(&line, " ");
		sp_text_string(&line, meaning);
	}
}
