/*
 * What the files of the agent share about this process: written by the thread that
 * starts the agent, before anything else of it runs, and by a fork child on its way to
 * a recording of its own.
 */
#ifndef SP_AGENT_H
#define SP_AGENT_H

#include "sp_absorb.h"
#include "sp_clock.h"
#include "sp_options.h"
#include "sp_recording.h"
#include "sp_reporter_thread.h"

#include <limits.h>
#include <stdint.h>

/* At the end of the process somebody waits for the profiles, but not for ever: a
 * thread that sleeps with the loader's lock, or a disk that hangs, must not keep
 * the host from ending. */
#define SP_AGENT_END_TIMEOUT_NS (30 * SP_NS_PER_SECOND)

/* What an exec that failed may take longer. */
#define SP_AGENT_GOES_ON_TIMEOUT_NS SP_NS_PER_SECOND

/* A program that gives up rights waits for our thread to follow, which it does later
 * where it is held up. */
#define SP_AGENT_RIGHTS_TIMEOUT_NS (2 * SP_NS_PER_SECOND)

struct sp_agent {
	struct sp_options options;
	const char *program;
	/* XDG_RUNTIME_DIR of the start, as a fork child may have overwritten its
	 * environment, or be about to; "": none. */
	char runtime_dir[PATH_MAX];
	enum sp_heap_coverage heap_coverage;
	struct sp_absorber absorber;
	struct sp_reporter_setup reporter_setup;
	/* What the kernel's clocks showed when the program began: they go on across
	 * exec. */
	struct sp_cpu_usage earlier;
	uint64_t earlier_thread_cpu_ns; /* of the thread that called exec */
};

extern struct sp_agent sp_agent;

/* Context: signal. In a fork child, once there is a recording: spans of the environment,
 * as the program began with, and of library functions. */
void sp_agent_begin_spans(void);

#endif
