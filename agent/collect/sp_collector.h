/*
 * The reporter thread's work: drain the rings, follow threads and modules, keep the
 * exact totals, write the profiles.
 *
 * Context of everything here: collector, unless said otherwise.
 */
#ifndef SP_COLLECTOR_H
#define SP_COLLECTOR_H

#include "sp_absorb.h"
#include "sp_modules.h"
#include "sp_options.h"
#include "sp_recording.h"
#include "sp_text.h"

struct sp_span_reporters;

/* What the collector does to threads is the hooks' business; it only asks. */
struct sp_collector_calls {
	/* False: it stays without a slot. */
	bool (*adopt_thread)(int tid, bool is_main);
	void (*end_thread)(struct sp_slot *slot, uint64_t cpu_ns);
	/* After each look at the list of threads. */
	void (*threads_listed)(void);
	void (*verify_signal)(void);
	/* As sp_modules_loaded. */
	bool (*module_loaded)(uint64_t start, const void *link_map);
	/* Is there perhaps something to tell module_loaded? Asked each round. */
	bool (*wants_modules)(void);
	/* After each scan: module_loaded has been told of all that it found. */
	void (*modules_told)(void);
	/* Adds to the line at exit what of the spans was looked for and not met. */
	void (*say_unmet_spans)(struct sp_text *text);
};

/* Threads met in the task directory that have no slot, this round and the last. Those
 * beyond so many are met again when there is room. */
#define SP_STRANGERS_MAX 2048
struct sp_strangers {
	int old_tids[SP_STRANGERS_MAX], new_tids[SP_STRANGERS_MAX];
	uint32_t old_count, new_count;
	bool has_news; /* somebody was met for the first time */
};

struct sp_collector {
	struct sp_recording *recording;
	struct sp_absorber *absorber;
	struct sp_modules *modules;
	const struct sp_options *options;
	const struct sp_collector_calls *calls;
	int own_tid;
	uint64_t listing_round;
	uint64_t last_listing_ns, last_clocks_ns, last_heap_ns;
	uint64_t listing_cpu_ns; /* what the last one took */
	struct sp_strangers strangers;
	uint64_t last_host_cpu_ns, last_look_ns;
	uint64_t round_period_ns; /* what the program's CPU time is worth */
	bool is_program_busy;	  /* its threads take CPU time, sampled or not */
	bool was_kept_out;	  /* of the aggregates, in the last final round */
	struct sp_span_reporters *reporters; /* of events; NULL: none */
	uint64_t agent_cpu_before_ns; /* of reporter threads of this process that ended */
};

/* Fills the header's identity: program, command line, who runs it since when. */
void sp_collector_identify(struct sp_recording *recording,
			   const struct sp_options *options, const char *program);

/* Context: init. Makes the directories of a recording that is to be in a place of its
 * own; what cannot be made is met when it is used. */
void sp_collector_make_places(const struct sp_options *options);

/* Storage for the threads that are about to come. */
void sp_collector_keep_ahead(struct sp_collector *collector);

/* One round: modules if wanted, rings, threads, clocks. Returns records taken. */
uint64_t sp_collector_round(struct sp_collector *collector, bool is_final);

/* How soon a round is worth its while after one that took records; set by a round. */
uint64_t sp_collector_pace_ns(const struct sp_collector *collector);

/* How soon the next round is to come at the latest. */
uint64_t sp_collector_pace_max_ns(const struct sp_collector *collector);

/* Lists the task directory: adopts unknown threads, ends vanished ones. */
void sp_collector_list_threads(struct sp_collector *collector);

/* Reads the CPU clocks of all live threads and of the process. */
void sp_collector_read_clocks(struct sp_collector *collector);

/* Context: signal. That of one thread that lives, or that of the process. */
void sp_collector_read_thread_clock(const struct sp_recording_header *header,
				    struct sp_slot *slot);
void sp_collector_read_process_clock(struct sp_recording_header *header);

/*
 * Context: signal, consumer lock held. What a round says of clocks and counters, of this
 * thread and the process: for whoever is sampled where no thread does rounds, so that a
 * kill does not lose it.
 */
void sp_collector_note_clocks(struct sp_recording *recording, struct sp_slot *slot);

enum sp_profile_kind {
	SP_PROFILE_CPU,
	SP_PROFILE_HEAP,
	SP_PROFILE_PEAK,
	SP_PROFILE_LIFETIMES,
	SP_PROFILE_LEAKS,
	SP_PROFILE_SPANS,
	SP_PROFILE_KINDS
};

/* What is wanted besides all that a recording holds. */
#define SP_WRITE_LEAKS 1U /* what is in use is listed, too */

/* What was written, and the sums of it. */
struct sp_write_summary {
	struct {
		char file[NAME_MAX + 1]; /* "" when there is none of this kind */
		int error;		 /* 0 or -errno; file is then an older one */
	} kinds[SP_PROFILE_KINDS];
	int error; /* 0 or -errno: no profile could be written at all */
	uint64_t samples, cpu_ns;
	uint64_t allocated_bytes; /* counted */
	uint64_t in_use_bytes, peak_bytes, freed_bytes;
	bool is_heap_exact;	/* these three, too */
	uint64_t heap_coverage; /* enum sp_heap_coverage */
	uint64_t lost_samples;	/* of CPU and heap */
	uint64_t spans;		/* closed or open */
	uint64_t lost_spans;	/* or stays in them */
	uint32_t found_sources; /* of spans, a bit for each enum sp_span_source */
};

/*
 * Writes all profiles that a recording holds, one after the other: what goes wrong
 * with one is not the others' loss. Nobody drains it at this moment. dir_fd as for
 * openat(). wishes: SP_WRITE_*. summary is zeroed before the first time; files that it
 * names then are ours and are replaced.
 */
void sp_collector_write(const struct sp_recording *recording, int dir_fd,
			unsigned int wishes, struct sp_write_summary *summary);

/*
 * Context: init. Are the names of all profiles of such a program, named by that pattern,
 * as short as names of files have to be? Its process id may have as many digits as any.
 */
bool sp_profile_names_fit(const char *pattern, const char *program);

/* "cpu": as in the name of the file. */
const char *sp_profile_kind_name(enum sp_profile_kind kind);

/* What stands before ".cpu.pb.gz" in the name of such a profile; all of the name if
 * that is not its end. */
size_t sp_profile_stem_bytes(const char *name, enum sp_profile_kind kind);

/* The first error, or 0. */
int sp_write_summary_error(const struct sp_write_summary *summary);

/* "343 samples, 3.456 s of CPU time": what one kind of profile comes to. */
void sp_write_summary_say_kind(const struct sp_write_summary *summary,
			       enum sp_profile_kind kind, struct sp_text *text);

/* "; found: api, otel", or nothing: sources of spans. */
void sp_write_summary_say_sources(const struct sp_write_summary *summary,
				  struct sp_text *text);

/* All that was written, and all sums: "DIR/redis.17.{cpu,heap}.pb.gz: ...". */
void sp_write_summary_say(const struct sp_write_summary *summary, const char *folder,
			  struct sp_text *text);

#endif
