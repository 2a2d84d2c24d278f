/*
 * Names of threads, as pthread_setname_np(), prctl() and writes to /proc give them: the
 * kernel is asked when a sample is taken, on its thread, so that it makes no difference
 * who named the thread, and how, but for when that is next asked (sp_sample_labels.h).
 * Threads that were given no name have their program's, or that of the thread that
 * made them. Context: signal.
 */
#include "span_sources.h"

#include "sp_sample_labels.h"
#include "sp_span_capture.h"
#include "sp_syscall.h"

#include <string.h>
#include <sys/prctl.h>

/* The kernel's TASK_COMM_LEN. */
#define NAME_BYTES 16U
_Static_assert(NAME_BYTES <= SP_SAMPLE_NAME_BYTES, "room for all names");

/* Of the main thread at the start. */
static char program_name[NAME_BYTES];

static bool read_name(char text[SP_SAMPLE_NAME_BYTES])
{
	if (sp_syscall2(SYS_prctl, PR_GET_NAME, text) != 0)
		return false;
	text[NAME_BYTES - 1] = '\0';
	/* Found is what the program has named. */
	if (strcmp(text, program_name) != 0)
		sp_span_note_source(SP_SPAN_SOURCE_THREAD_NAMES);
	return true;
}

static bool begin(const struct sp_spans_setup *setup)
{
	(void)setup;
	if (!program_name[0])
		sp_syscall2(SYS_prctl, PR_GET_NAME, program_name);
	sp_sample_name_source(SP_SAMPLE_THREAD_NAME, read_name);
	return false; /* found when a thread has a name of its own */
}

const struct sp_span_source_ops sp_span_thread_names = {
	.source = SP_SPAN_SOURCE_THREAD_NAMES,
	.is_on_by_default = true,
	.begin = begin,
};
