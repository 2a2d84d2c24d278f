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

/* What the collector does to threads is the hooks' business; it only asks. */
struct sp_collector_calls {
	void (*adopt_thread)(int tid, bool is_main);
	void (*end_thread)(struct sp_slot *slot, uint64_t cpu_ns);
	void (*verify_signal)(void);
};

/* Threads met in the task directory that have no slot, this round and the last. */
#define SP_STRANGERS_MAX 256
struct sp_strangers {
	int old_tids[SP_STRANGERS_MAX], new_tids[SP_STRANGERS_MAX];
	uint32_t old_count, new_count;
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
	struct sp_strangers strangers;
	uint64_t last_host_cpu_ns;
	uint64_t agent_cpu_before_ns; /* of reporter threads of this process that ended */
};

/* Fills the header's identity: program, command line, who runs it since when. */
void sp_collector_identify(struct sp_recording *recording,
			   const struct sp_options *options, const char *program);

/* Storage for the threads that are about to come. */
void sp_collector_keep_ahead(struct sp_collector *collector);

/* One round: modules if wanted, rings, threads, clocks. Returns records taken. */
uint64_t sp_collector_round(struct sp_collector *collector, bool is_final);

/* Lists the task directory: adopts unknown threads, ends vanished ones. */
void sp_collector_list_threads(struct sp_collector *collector);

/* Reads the CPU clocks of all live threads and of the process. */
void sp_collector_read_clocks(struct sp_collector *collector);

struct sp_write_summary {
	char file[NAME_MAX + 1]; /* what was written */
	uint64_t samples;
	uint64_t cpu_ns;
	uint64_t lost_samples;
	int error; /* 0 or -errno */
};

/*
 * Writes the CPU profile of a recording that nobody drains at this moment.
 * dir_fd as for openat(). may_replace: a profile of that name is ours.
 */
void sp_collector_write_cpu(const struct sp_recording *recording, int dir_fd,
			    bool may_replace, struct sp_write_summary *summary);

#endif
