/*
 * What the user asked for. One table (options.c) gives the parser, the help text,
 * the man page and the README their list.
 */
#ifndef SP_OPTIONS_H
#define SP_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sp_unwinder_kind {
	SP_UNWINDER_TABLES,
	SP_UNWINDER_LIBUNWIND,
};

enum sp_allocator_kind {
	SP_ALLOCATOR_SYSTEM,
	SP_ALLOCATOR_JEMALLOC,
};

enum sp_span_cpu_kind {
	SP_SPAN_CPU_OFF,
	SP_SPAN_CPU_EXACT,
};

/* Switches that another one speaks for; sp_options_parse() leaves no auto. */
enum sp_switch {
	SP_SWITCH_AUTO,
	SP_SWITCH_NO,
	SP_SWITCH_YES,
};

/* A heap sampled more densely than this gets SP_RECORDING_BYTES_DENSE by default. */
#define SP_HEAP_RATE_DENSE_BYTES UINT64_C(1024)
#define SP_RECORDING_BYTES_DEFAULT (UINT64_C(64) << 20)
#define SP_RECORDING_BYTES_DENSE (UINT64_C(1) << 30)

struct sp_options {
	bool is_disabled;	  /* SPANPROF=off, SPANPROF_DISABLE: do nothing at all */
	bool is_cpu_enabled;	  /* SPANPROF=cpu, SPANPROF_CPU */
	uint32_t cpu_hz;	  /* SPANPROF_CPU_HZ, 1..10000 */
	bool is_heap_enabled;	  /* SPANPROF=heap, SPANPROF_HEAP */
	uint64_t heap_rate_bytes; /* SPANPROF_HEAP_RATE: mean distance, 1 = all */
	uint64_t heap_seed;	  /* SPANPROF_HEAP_SEED; 0 = a random one */
	bool wants_leaks;	  /* SPANPROF_LEAKS */
	char spans[2048];	  /* SPANPROF_SPANS: "id", "off", names of functions */
	char span_sources[512];	  /* SPANPROF_SOURCES; "" = those on by default */
	enum sp_span_cpu_kind span_cpu;	      /* SPANPROF_SPAN_CPU */
	uint32_t span_probability_millionths; /* SPANPROF_SPAN_SAMPLER */
	uint64_t span_seed;		      /* SPANPROF_SPAN_SEED; 0 = a random one */
	bool is_all_tracked;		      /* SPANPROF_TRACK_ALL */
	enum sp_switch track_cpu, track_wall; /* SPANPROF_TRACK_… */
	enum sp_switch track_allocations, track_heap;
	char span_labels[512];		    /* SPANPROF_RECORD_LABELS; "" = none */
	uint64_t held_spans_max;	    /* SPANPROF_MAX_CLOSED_HEAP_SPANS */
	char reporters[256];		    /* SPANPROF_REPORTER; "" = pprof */
	uint32_t samples_max;		    /* SPANPROF_MAX_SAMPLES */
	uint64_t heap_snapshot_interval_ns; /* SPANPROF_HEAP_SNAPSHOT_INTERVAL */
	bool aggregates_samples;	    /* SPANPROF_AGGREGATE_SAMPLES */
	enum sp_allocator_kind allocator;
	uint32_t depth_frames_max; /* SPANPROF_DEPTH */
	enum sp_unwinder_kind unwinder;
	char out_dir[PATH_MAX];	      /* SPANPROF_OUT; "." unless set */
	char file_pattern[NAME_MAX];  /* SPANPROF_FILE; "%e.%p" unless set */
	char recording_dir[PATH_MAX]; /* SPANPROF_RECORDING_DIR; "" = choose */
	uint64_t recording_bytes_max; /* SPANPROF_RECORDING_SIZE; 0 = auto, only until
				       * sp_options_parse() has chosen */
	int signal_number;	      /* SPANPROF_SIGNAL; 0 = sp_signal_choose() does */
	bool is_quiet;
	bool is_verbose;
};

/* Context: init. Defaults, in one initialiser. */
void sp_options_init(struct sp_options *options);

/*
 * Context: init; no allocation. Reads SPANPROF and every SPANPROF_* variable from
 * environment ("NAME=value" strings, NULL at the end). Single variables win
 * over the compact string, whatever their order; one that is empty counts as not
 * set, and of two with the same name the first counts, as with getenv().
 *
 *   SPANPROF = item,item,…    item = NAME or NAME=VALUE, blanks before it ignored
 *
 * In a value "\," is a comma and "\\" a backslash. Once an item names a profile
 * ("cpu", "cpu:hz=199"), only the named ones run; else all do. A switch without a
 * value means yes.
 *
 * 0, or -EINVAL with one line in error that names the wrong option, what was wrong
 * and the nearest valid one; *options is untouched then. Who asked for "off" gets
 * silence even if the rest is wrong: 0, is_disabled and no profile enabled.
 */
int sp_options_parse(struct sp_options *options, char *const *environment, char *error,
		     size_t error_bytes);

/*
 * Context: signal. Lists of options: items separated by commas, without blanks around
 * them and without empty ones, as sp_options_list_make() leaves them; 0 or -ERANGE.
 */
int sp_options_list_make(const char *text, char *list, size_t list_bytes);
bool sp_options_list_has(const char *list, const char *item);
/* The list without an item. */
void sp_options_list_remove(char *list, const char *item);

/* One line for each option: name, environment name, default, meaning. */
struct sp_option_help {
	const char *compact;	 /* "cpu:hz" */
	const char *environment; /* "SPANPROF_CPU_HZ" */
	const char *value;	 /* "N", "DIR", "" for a flag */
	const char *default_text;
	const char *meaning;
};

/* Context: signal. NULL past the end. */
const struct sp_option_help *sp_options_help(size_t index);

/*
 * Context: init. A number that is equal for equal options, in every process and
 * build of one layout; kept in the recording's header.
 */
uint64_t sp_options_hash(const struct sp_options *options);

/*
 * Context: collector. pattern is a file_pattern. Expands %e (program name), %p (pid), %t
 * (start time, ns since 1970), %h (host name), %% into out, then ".kind.extension".
 * Slashes and control characters in what is put in become "_". 0, -EINVAL for an unknown
 * % or a slash in the pattern, -ENAMETOOLONG (the limit is NAME_MAX, or out_bytes if
 * less). out is "" on failure.
 */
int sp_options_file_name(const char *pattern, const char *program, int pid,
			 uint64_t start_ns, const char *kind, const char *extension,
			 char *out, size_t out_bytes);

#endif
