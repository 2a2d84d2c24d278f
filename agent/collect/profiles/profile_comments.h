/*
 * What a profile says about itself, line by line, and the lines that all kinds of
 * profiles have. Context of everything here: collector.
 */
#ifndef SP_PROFILE_COMMENTS_H
#define SP_PROFILE_COMMENTS_H

#include "sp_recording.h"
#include "sp_text.h"

#define SP_COMMENTS_MAX 64
#define SP_COMMENT_BYTES 256

struct sp_profile_comments {
	uint32_t count;
	const char *lines[SP_COMMENTS_MAX];
	char bytes[SP_COMMENTS_MAX][SP_COMMENT_BYTES];
};

/* A new line, to be written into line. What does not fit it is cut; when there are too
 * many lines it replaces the last. */
void sp_comment_begin(struct sp_text *line, struct sp_profile_comments *comments);

/* value / 10^digits with that many decimals. */
void sp_comment_decimal(struct sp_text *line, uint64_t value, unsigned int digits);
/* "12.34 %"; of nothing it is 0. */
void sp_comment_percent(struct sp_text *line, double part, double whole);
/* "1.5 KiB" */
void sp_comment_bytes(struct sp_text *line, uint64_t bytes);

/* The first lines: which kind of profile it is ("heap"), and whose. */
void sp_comments_begin(struct sp_profile_comments *comments, const char *kind,
		       const struct sp_recording_header *header);

/* Begins the line that says what looking cost, with the part that all kinds of profiles
 * know: the agent's thread. cpu_ns: of the whole process; 0: nobody knows, as it was
 * killed before its clock was read. The caller goes on with what it knows of the
 * program's own threads. */
void sp_comment_begin_cost(struct sp_text *line, struct sp_profile_comments *comments,
			   uint64_t agent_ns, uint64_t cpu_ns);

/* A line for each loss that happened and has a meaning: one of the SP_LOSS_COUNT given,
 * or, where there is none, one that all kinds of profiles share. */
void sp_comments_add_losses(struct sp_profile_comments *comments,
			    const struct sp_recording_header *header,
			    const char *const *meanings);

#endif
