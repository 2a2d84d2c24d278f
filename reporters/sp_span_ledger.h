/*
 * What reporters of events that make profiles keep of spans: the sums of each since
 * they were last brought out. Context of everything here: collector.
 *
 * The time of a span contains that of the spans inside; what comes out is without
 * them, as readers of profiles add up stacks.
 */
#ifndef SP_SPAN_LEDGER_H
#define SP_SPAN_LEDGER_H

#include "sp_key_index.h"
#include "sp_reporter.h"

enum sp_ledger_value {
	SP_LEDGER_WALL_BUSY,
	SP_LEDGER_WALL_IDLE,
	SP_LEDGER_CPU,
	SP_LEDGER_CPU_SYSTEM, /* of that */
	SP_LEDGER_ALLOC_OBJECTS,
	SP_LEDGER_ALLOC_BYTES,
	SP_LEDGER_INUSE_OBJECTS, /* totals, as they were told last */
	SP_LEDGER_INUSE_BYTES,
	SP_LEDGER_VALUES
};

/* A span from where it is told of to where it is brought out for the last time. */
struct sp_ledger_span {
	uint64_t id, parent; /* parent 0: none is told of */
	uint32_t place, labels;
	bool is_destroyed;
	uint64_t sums[SP_LEDGER_VALUES];
	uint64_t inside[SP_LEDGER_VALUES]; /* of the spans in it */
	uint64_t out[SP_LEDGER_VALUES];	   /* brought out before */
};

/* A callsite in the places around it: where spans are. */
struct sp_ledger_place {
	uint32_t parent; /* index + 1; 0 = outermost */
	uint32_t callsite;
	bool is_process; /* its values stand for themselves */
	/* Came out of spans there that are over, beyond what they had. */
	uint64_t owed[SP_LEDGER_VALUES];
};

struct sp_ledger_labels {
	uint32_t count;
	struct sp_view_label labels[SP_VIEW_LABELS_MAX];
};

struct sp_span_ledger {
	struct sp_ledger_span *spans;
	uint32_t span_count, span_capacity;
	struct sp_key_index by_id;
	/* These stay: there are only so many in a recording. */
	struct sp_view_named_frame *callsites;
	struct sp_ledger_place *places;
	struct sp_ledger_labels **label_lists;
	uint32_t callsite_count, callsite_capacity;
	uint32_t place_count, place_capacity;
	uint32_t label_list_count, label_list_capacity;
	struct sp_key_index by_callsite, by_place, by_labels;
};

/* All zero is an empty one. */
void sp_span_ledger_fini(struct sp_span_ledger *ledger);

/* Copies all it keeps. 0 or -ENOMEM. */
int sp_span_ledger_add(struct sp_span_ledger *ledger, const struct sp_span_info *info);
/* It has other labels: what is not brought out yet gets those. 0 or -ENOMEM. */
int sp_span_ledger_label(struct sp_span_ledger *ledger, const struct sp_span_info *info);
void sp_span_ledger_end(struct sp_span_ledger *ledger, uint64_t id);

/* Values are added; those in use are replaced. */
void sp_span_ledger_count(struct sp_span_ledger *ledger, uint64_t id,
			  enum sp_ledger_value which, uint64_t value);

/*
 * Before all are taken. Of spans that are destroyed it is known what they come to without
 * those inside: less than nothing, where children took time beside their parent or were
 * told of a moment too much; or less than came out. Others in that place make up for it,
 * as they do in sums over all spans of a place.
 */
void sp_span_ledger_settle(struct sp_span_ledger *ledger);

/* What a span has done without those inside that was not brought out before, and now
 * is; less what its place owes. */
void sp_span_ledger_take(struct sp_span_ledger *ledger, struct sp_ledger_span *span,
			 uint64_t values[SP_LEDGER_VALUES]);

/* Forgets the spans that are destroyed. 0 or -ENOMEM: then some are found no more. */
int sp_span_ledger_tidy(struct sp_span_ledger *ledger);

#endif
