/*
 * What spans did since the last files, in files for servers of profiles: one for each
 * kind, as such a server takes a profile for what its first known type is. Context:
 * collector. Nothing stays behind at a flush: every time and every allocation is in
 * one set of files and in no other.
 */
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_file_sink.h"
#include "sp_frame.h"
#include "sp_heap.h"
#include "sp_reporter.h"
#include "sp_span_ledger.h"
#include "sp_text.h"

#include <errno.h>
#include <string.h>

/* Recursion makes places as deep as itself: of those, readers get the inner end. */
#define STACK_FRAMES_MAX 512U
#define COMMENTS_MAX 2U
#define COMMENT_BYTES 256U

/* A sample to be. */
struct row {
	uint32_t place, labels;
	uint64_t values[SP_LEDGER_VALUES];
};

struct pyroscope {
	struct sp_reporter_config config;
	struct sp_span_ledger ledger;
	int64_t last_ns; /* end of the last files, since 1970 */
	bool has_heap;	 /* totals of memory came since */
	/* Of the files being written. */
	struct row *rows;
	uint32_t row_count;
	int64_t now_ns;
	const char *comments[COMMENTS_MAX];
	char comment_bytes[COMMENTS_MAX][COMMENT_BYTES];
};

enum kind { KIND_WALL, KIND_CPU, KIND_MEMORY, KINDS };

#define VALUES_MAX 4U

static const struct {
	const char *name;
	uint32_t value_count, default_value;
	struct sp_value_type types[VALUES_MAX], period_type;
} kinds[KINDS] = {
	[KIND_WALL] = {"wall",
		       3,
		       0,
		       {{"wall", "nanoseconds"},
			{"wall_busy", "nanoseconds"},
			{"wall_idle", "nanoseconds"}},
		       {"wall", "nanoseconds"}},
	[KIND_CPU] = {"cpu",
		      3,
		      0,
		      {{"cpu", "nanoseconds"},
		       {"cpu_user", "nanoseconds"},
		       {"cpu_sys", "nanoseconds"}},
		      {"cpu", "nanoseconds"}},
	[KIND_MEMORY] = {"memory",
			 4,
			 3,
			 {{"alloc_objects", "count"},
			  {"alloc_space", "bytes"},
			  {"inuse_objects", "count"},
			  {"inuse_space", "bytes"}},
			 {"space", "bytes"}},
};

/* --- the view of one kind --- */

struct cursor {
	const struct pyroscope *reporter;
	enum kind kind;
	uint32_t next_row;
	uint64_t frames[STACK_FRAMES_MAX + 1];
};

/* The head sampler's part stands for all. */
static int64_t scaled(const struct pyroscope *reporter, uint32_t place, uint64_t value)
{
	double probability = reporter->ledger.places[place].is_process
				     ? 1
				     : reporter->config.probability;
	double all = (double)value;

	if (probability > 0 && probability < 1)
		all = all / probability + 0.5;
	else if (value <= INT64_MAX)
		return (int64_t)value;
	return all < 9e18 ? (int64_t)all : INT64_C(9000000000000000000);
}

/* False if there is nothing of this kind. */
static bool fill_values(const struct cursor *cursor, const struct row *row,
			int64_t *values)
{
	uint64_t of[VALUES_MAX] = {0};
	bool has_value = false;

	switch (cursor->kind) {
	case KIND_WALL:
		of[1] = row->values[SP_LEDGER_WALL_BUSY];
		of[2] = row->values[SP_LEDGER_WALL_IDLE];
		of[0] = of[1] + of[2];
		break;
	case KIND_CPU:
		of[0] = row->values[SP_LEDGER_CPU];
		of[2] = row->values[SP_LEDGER_CPU_SYSTEM];
		of[1] = of[0] - of[2];
		break;
	case KIND_MEMORY:
		of[0] = row->values[SP_LEDGER_ALLOC_OBJECTS];
		of[1] = row->values[SP_LEDGER_ALLOC_BYTES];
		/* Servers add up what they get: only totals that are new. */
		if (!cursor->reporter->has_heap)
			break;
		of[2] = row->values[SP_LEDGER_INUSE_OBJECTS];
		of[3] = row->values[SP_LEDGER_INUSE_BYTES];
		break;
	case KINDS:
		break;
	}
	for (uint32_t i = 0; i < kinds[cursor->kind].value_count; i++) {
		values[i] = scaled(cursor->reporter, row->place, of[i]);
		has_value |= of[i] != 0;
	}
	return has_value;
}

static void fill_stack(struct cursor *cursor, uint32_t place,
		       struct sp_view_sample *sample)
{
	const struct sp_ledger_place *places = cursor->reporter->ledger.places;
	uint32_t number = place + 1;

	sample->frames = cursor->frames;
	while (number && sample->frame_count < STACK_FRAMES_MAX) {
		cursor->frames[sample->frame_count++] =
			sp_frame_make(SP_MODULE_NAMED, places[number - 1].callsite);
		number = places[number - 1].parent;
	}
	if (number)
		cursor->frames[sample->frame_count++] =
			sp_frame_pseudo(SP_PSEUDO_TRUNCATED);
}

static int next_sample(void *opaque, struct sp_view_sample *sample)
{
	struct cursor *cursor = opaque;
	const struct pyroscope *reporter = cursor->reporter;

	while (cursor->next_row < reporter->row_count) {
		const struct row *row = &reporter->rows[cursor->next_row++];
		const struct sp_ledger_labels *labels =
			reporter->ledger.label_lists[row->labels];

		memset(sample, 0, sizeof(*sample));
		if (!fill_values(cursor, row, sample->values))
			continue;
		fill_stack(cursor, row->place, sample);
		memcpy(sample->labels, labels->labels,
		       labels->count * sizeof(labels->labels[0]));
		sample->label_count = labels->count;
		return 1;
	}
	return 0;
}

static void rewind_samples(void *opaque)
{
	struct cursor *cursor = opaque;

	cursor->next_row = 0;
}

static bool is_empty(struct cursor *cursor)
{
	struct sp_view_sample sample;
	bool has_any = next_sample(cursor, &sample);

	rewind_samples(cursor);
	return !has_any;
}

/* --- files --- */

static int write_view(const struct pyroscope *reporter,
		      const struct sp_profile_view *view)
{
	struct sp_known_names names;
	struct sp_file_sink file;
	char name[NAME_MAX + 1];
	struct sp_text text;
	int err;

	sp_text_init(&text, name, sizeof(name));
	sp_text_string(&text, view->kind);
	sp_text_char(&text, '_');
	sp_text_decimal(&text, (uint64_t)reporter->now_ns);
	sp_text_char(&text, '.');
	sp_text_string(&text, sp_reporter_pprof.extension);
	err = sp_file_sink_open(&file, reporter->config.dir_fd, name);
	if (err)
		return err;
	err = sp_known_names_init(&names);
	if (!err)
		err = sp_reporter_pprof.write_profile(view, &names, &file.sink);
	sp_known_names_fini(&names);
	if (err) {
		sp_file_sink_abort(&file);
		return err;
	}
	return sp_file_sink_commit(&file, false);
}

static int write_kind(const struct pyroscope *reporter, enum kind kind)
{
	struct cursor *cursor = sp_heap_zalloc(sizeof(*cursor));
	struct sp_profile_view view = {
		.kind = kinds[kind].name,
		.value_type_count = kinds[kind].value_count,
		.default_value_type = kinds[kind].default_value,
		.period_type = kinds[kind].period_type,
		.period = 1,
		.time_ns = reporter->last_ns,
		.duration_ns = reporter->now_ns - reporter->last_ns,
		.pid = reporter->config.pid,
		.named_frames = reporter->ledger.callsites,
		.named_frame_count = reporter->ledger.callsite_count,
		.comments = reporter->comments,
		.next_sample = next_sample,
		.rewind = rewind_samples,
		.cursor = cursor,
	};
	int err = 0;

	if (!cursor)
		return -ENOMEM;
	cursor->reporter = reporter;
	cursor->kind = kind;
	memcpy(view.value_types, kinds[kind].types, sizeof(kinds[kind].types));
	while (view.comment_count < COMMENTS_MAX &&
	       reporter->comments[view.comment_count])
		view.comment_count++;
	if (!is_empty(cursor))
		err = write_view(reporter, &view);
	sp_heap_free(cursor);
	return err;
}

static void write_comments(struct pyroscope *reporter)
{
	const struct sp_reporter_config *config = &reporter->config;
	struct sp_text text;

	sp_text_init(&text, reporter->comment_bytes[0], COMMENT_BYTES);
	sp_text_string(&text, "program: ");
	sp_text_string(&text, config->program);
	sp_text_string(&text, ", pid ");
	sp_text_decimal(&text, (uint64_t)config->pid);
	sp_text_string(&text, "; what its spans did since the last file of this kind; in "
			      "use: the totals of the moment");
	reporter->comments[0] = reporter->comment_bytes[0];
	if (config->probability <= 0 || config->probability >= 1)
		return;
	sp_text_init(&text, reporter->comment_bytes[1], COMMENT_BYTES);
	sp_text_string(&text, "sampling: a part of ");
	sp_text_decimal(&text, (uint64_t)(config->probability * 1e6 + 0.5));
	sp_text_string(&text, " millionths of all outermost spans was followed "
			      "(span:sampler); all values are scaled to all of them, and "
			      "are estimates");
	reporter->comments[1] = reporter->comment_bytes[1];
}

/* --- rows --- */

static bool has_any(const uint64_t *values)
{
	uint64_t any = 0;

	for (unsigned int i = 0; i < SP_LEDGER_VALUES; i++)
		any |= values[i];
	return any != 0;
}

/* The row for a span: one of its own, or that of all like it. 0 or -ENOMEM. */
static int find_row(struct pyroscope *reporter, struct sp_key_index *index,
		    const struct sp_ledger_span *span, struct row **row)
{
	uint64_t key = sp_key_mix(sp_key_mix(SP_KEY_START, span->place), span->labels);
	uint32_t found = SP_KEY_NONE;

	if (reporter->config.aggregates_samples)
		found = sp_key_index_find(index, key);
	if (found == SP_KEY_NONE) {
		found = reporter->row_count++;
		reporter->rows[found] =
			(struct row){.place = span->place, .labels = span->labels};
		if (reporter->config.aggregates_samples &&
		    sp_key_index_add(index, key, found) != 0)
			return -ENOMEM;
	}
	*row = &reporter->rows[found];
	return 0;
}

static int make_rows(struct pyroscope *reporter)
{
	struct sp_span_ledger *ledger = &reporter->ledger;
	struct sp_key_index index = {0};
	int err = 0;

	reporter->row_count = 0;
	reporter->rows =
		sp_heap_alloc((ledger->span_count + (size_t)1) * sizeof(*reporter->rows));
	if (!reporter->rows)
		return -ENOMEM;
	sp_span_ledger_settle(ledger);
	for (uint32_t i = 0; i < ledger->span_count && !err; i++) {
		uint64_t values[SP_LEDGER_VALUES];
		struct row *row = NULL;

		sp_span_ledger_take(ledger, &ledger->spans[i], values);
		if (!has_any(values))
			continue;
		err = find_row(reporter, &index, &ledger->spans[i], &row);
		for (unsigned int v = 0; v < SP_LEDGER_VALUES && !err; v++)
			row->values[v] += values[v];
	}
	sp_key_index_fini(&index);
	return err;
}

/* --- calls --- */

static int init(void **state, const struct sp_reporter_config *config)
{
	struct pyroscope *reporter;

	if (config->dir_fd < 0)
		return -ENOENT;
	reporter = sp_heap_zalloc(sizeof(*reporter));
	if (!reporter)
		return -ENOMEM;
	reporter->config = *config;
	reporter->last_ns = config->start_ns;
	write_comments(reporter);
	*state = reporter;
	return 0;
}

static int span_created(void *state, const struct sp_span_info *span)
{
	struct pyroscope *reporter = state;

	return sp_span_ledger_add(&reporter->ledger, span);
}

static int span_labelled(void *state, const struct sp_span_info *span)
{
	struct pyroscope *reporter = state;

	return sp_span_ledger_label(&reporter->ledger, span);
}

static int span_destroyed(void *state, uint64_t span_id)
{
	struct pyroscope *reporter = state;

	sp_span_ledger_end(&reporter->ledger, span_id);
	return 0;
}

static int span_cpu(void *state, uint64_t span_id, const struct sp_span_cpu *delta)
{
	struct pyroscope *reporter = state;

	sp_span_ledger_count(&reporter->ledger, span_id, SP_LEDGER_CPU,
			     delta->user_ns + delta->system_ns);
	sp_span_ledger_count(&reporter->ledger, span_id, SP_LEDGER_CPU_SYSTEM,
			     delta->system_ns);
	return 0;
}

static int span_wall(void *state, uint64_t span_id, const struct sp_span_wall *delta)
{
	struct pyroscope *reporter = state;

	sp_span_ledger_count(&reporter->ledger, span_id, SP_LEDGER_WALL_BUSY,
			     delta->busy_ns);
	sp_span_ledger_count(&reporter->ledger, span_id, SP_LEDGER_WALL_IDLE,
			     delta->idle_ns);
	return 0;
}

static int span_allocations(void *state, uint64_t span_id,
			    const struct sp_span_allocations *delta)
{
	struct pyroscope *reporter = state;

	sp_span_ledger_count(&reporter->ledger, span_id, SP_LEDGER_ALLOC_OBJECTS,
			     delta->count);
	sp_span_ledger_count(&reporter->ledger, span_id, SP_LEDGER_ALLOC_BYTES,
			     delta->bytes);
	return 0;
}

static int span_heap(void *state, uint64_t span_id, const struct sp_span_heap *total)
{
	struct pyroscope *reporter = state;

	sp_span_ledger_count(&reporter->ledger, span_id, SP_LEDGER_INUSE_OBJECTS,
			     total->count);
	sp_span_ledger_count(&reporter->ledger, span_id, SP_LEDGER_INUSE_BYTES,
			     total->bytes);
	reporter->has_heap = true;
	return 0;
}

static int flush(void *state)
{
	struct pyroscope *reporter = state;
	int err = make_rows(reporter), tidy_err;

	reporter->now_ns = (int64_t)sp_clock_realtime_ns();
	for (unsigned int kind = 0; kind < KINDS && !err; kind++)
		err = write_kind(reporter, (enum kind)kind);
	sp_heap_free(reporter->rows);
	reporter->rows = NULL;
	reporter->has_heap = false;
	reporter->last_ns = reporter->now_ns;
	tidy_err = sp_span_ledger_tidy(&reporter->ledger);
	return err ? err : tidy_err;
}

static void fini(void *state)
{
	struct pyroscope *reporter = state;

	sp_span_ledger_fini(&reporter->ledger);
	sp_heap_free(reporter);
}

const struct sp_reporter_ops sp_reporter_pyroscope = {
	.name = "pyroscope",
	.init = init,
	.span_created = span_created,
	.span_labelled = span_labelled,
	.span_destroyed = span_destroyed,
	.span_cpu = span_cpu,
	.span_wall = span_wall,
	.span_allocations = span_allocations,
	.span_heap = span_heap,
	.flush = flush,
	.fini = fini,
};
