/*
 * The reporter interface: one ops struct and one file for each output. A NULL
 * member means "not interested". All calls come from one thread and may block.
 *
 * A reporter of profiles loses the one that it cannot write, and a reporter of events
 * what it cannot flush. One that returns an error from another call is told nothing
 * more but fini(), and the others and the program go on.
 */
#ifndef SP_REPORTER_H
#define SP_REPORTER_H

#include "sp_known_names.h"
#include "sp_profile_view.h"
#include "sp_sink.h"

struct sp_reporter_config {
	const char *program;
	int pid;
	int64_t start_ns; /* since 1970 */
	int dir_fd;	  /* of the output folder, for openat(); -1: none */
	/* Least time between two totals of a span's memory; 0: as often as can be. */
	uint64_t heap_interval_ns;
	uint32_t samples_max;	 /* told between two flushes, if more come; in a batch */
	bool aggregates_samples; /* spans that are alike are to be one sample */
	int64_t period_ns;	 /* of CPU samples; 0: there are none */
	/* CPU time is measured, else it is 0. */
	bool has_exact_cpu;
	/* Of outermost spans that are told of, with all spans in them; in that of the
	 * process, of those that come next. */
	double probability;
};

/* Enclosing spans that are told. */
#define SP_SPAN_SCOPE_MAX 128U

/* All of it lives until the span is destroyed. */
struct sp_span_info {
	uint64_t id; /* never of two spans of a process; not 0 */
	/* Ids of the spans around it that are not destroyed yet, innermost first. */
	const uint64_t *scope;
	uint32_t scope_count;
	uint64_t follows;		  /* id of the span that caused it; 0: none */
	const char *name, *target, *file; /* "" if unknown */
	uint32_t line;
	bool is_process; /* the whole process: it stands for no others (probability) */
	const uint8_t *trace_id; /* 16 bytes */
	uint64_t span_id;
	int64_t created_ns; /* since 1970 */
	/* Recorded labels; span_labelled() tells when they are others. */
	const struct sp_view_label *labels;
	uint32_t label_count;
};

struct sp_span_cpu {
	uint64_t user_ns, system_ns; /* the split is an estimate */
};

struct sp_span_wall {
	uint64_t busy_ns, idle_ns;
};

struct sp_span_allocations {
	uint64_t count, bytes;
};

struct sp_span_heap {
	uint64_t bytes, count; /* estimates unless every allocation is recorded */
};

/* CPU samples: values are samples/count and cpu/nanoseconds. */
struct sp_sample_batch {
	const struct sp_view_sample *samples;
	uint32_t count; /* 0 in a last batch that tells of missed ones */
	const struct sp_view_module *modules;
	uint32_t module_count;
	uint64_t missed_samples; /* not told of, since the last batch */
};

/*
 * Of events. init() comes first and fini() last; span_created() before all else of a
 * span and of the spans in it, span_destroyed() after all else of it: when it is closed
 * and its last memory is freed or no longer followed. Between these, span_labelled tells
 * that its labels have changed, before what the span did since is told; span_cpu,
 * span_wall and span_allocations tell what came since the previous call for that span,
 * span_heap the total of the moment. flush() comes after samples_max of these calls and
 * samples, when heap_interval_ns have gone by, and before fini(); it must hold nothing
 * back, for it may be the last call of all, as the program ends. fini() comes where that
 * goes on without us. What is not tracked is not told. All but fini() return 0 or
 * -errno; on failure of init() *state is untouched.
 */
struct sp_reporter_ops {
	const char *name;      /* as in the registry */
	const char *extension; /* "pb.gz" */
	/* Writes one whole profile. names may know some of its code from others of the
	 * process, and then knows the rest, too. 0 or -errno. */
	int (*write_profile)(const struct sp_profile_view *view,
			     struct sp_known_names *names, struct sp_sink *sink);

	int (*init)(void **state, const struct sp_reporter_config *config);
	int (*span_created)(void *state, const struct sp_span_info *span);
	int (*span_labelled)(void *state, const struct sp_span_info *span);
	int (*span_destroyed)(void *state, uint64_t span_id);
	int (*span_cpu)(void *state, uint64_t span_id, const struct sp_span_cpu *delta);
	int (*span_wall)(void *state, uint64_t span_id, const struct sp_span_wall *delta);
	int (*span_allocations)(void *state, uint64_t span_id,
				const struct sp_span_allocations *delta);
	int (*span_heap)(void *state, uint64_t span_id, const struct sp_span_heap *total);
	int (*samples)(void *state, const struct sp_sample_batch *batch);
	int (*flush)(void *state);
	void (*fini)(void *state);
};

extern const struct sp_reporter_ops sp_reporter_pprof;
extern const struct sp_reporter_ops sp_reporter_pyroscope;

/* NULL when there is none of that name. */
const struct sp_reporter_ops *sp_reporter_find(const char *name);

/*
 * Those that a list (sp_options_list_make()) names, in its order; NULL past the end. An
 * empty list names pprof.
 */
const struct sp_reporter_ops *sp_reporter_listed(const char *list, size_t index);

/* Does it name this one? */
bool sp_reporter_is_listed(const char *list, const struct sp_reporter_ops *reporter);

/* Context: init. False, and what is wrong in error, if it names one that there is not. */
bool sp_reporter_list_check(const char *list, char *error, size_t error_bytes);

#endif
