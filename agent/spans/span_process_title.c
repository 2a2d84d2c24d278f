/*
 * Titles of processes: servers such as postgres, nginx and sshd write what they are
 * at over their first argument, where ps finds it. It is read when a sample is taken,
 * with care, as a program may do with that memory what it likes; a title that is read
 * while another thread, or the interrupted function, writes it may be a bit of both. A
 * process that has not changed its first argument has no title. Off by default: a
 * title may hold a client's address or a counter, and each is a series of its own.
 *
 * Where the kernel was told of another place for the arguments (PR_SET_MM_ARG_START,
 * which takes privileges), the title there is not seen. Context: signal.
 */
#include "span_sources.h"

#include "sp_guarded.h"
#include "sp_sample_labels.h"
#include "sp_span_capture.h"

#include <string.h>
#include <sys/auxv.h>

extern void *__libc_stack_end;

static const char *argument; /* the first one, where the kernel put it */
static size_t argument_bytes;
static char original[SP_SAMPLE_NAME_BYTES];

/* "" when it cannot be read. */
static void read_argument(char text[SP_SAMPLE_NAME_BYTES])
{
	const struct iovec piece = {(void *)(uintptr_t)argument, argument_bytes};

	text[0] = '\0';
	if (argument_bytes && !sp_guarded_gather(&piece, 1, text))
		text[0] = '\0';
	text[SP_SAMPLE_NAME_BYTES - 1] = '\0';
}

static bool read_title(char text[SP_SAMPLE_NAME_BYTES])
{
	memset(text, 0, SP_SAMPLE_NAME_BYTES);
	read_argument(text);
	if (!text[0] || strcmp(text, original) == 0)
		return false;
	sp_span_note_source(SP_SPAN_SOURCE_PROCESS_TITLE);
	return true;
}

/*
 * Arguments and environment lie one after the other, then the program's path, which is
 * the last of all: a title may grow so far, and nothing is mapped a little later.
 */
static void find_argument(void)
{
	/* The count of arguments, then pointers to them. */
	const char *const *stack = __libc_stack_end;
	const char *path = (const char *)getauxval(AT_EXECFN);

	if (!stack || !stack[0] || !stack[1])
		return;
	argument = stack[1];
	argument_bytes = SP_SAMPLE_NAME_BYTES;
	if (path && path > argument && (size_t)(path - argument) < argument_bytes)
		argument_bytes = (size_t)(path - argument);
	read_argument(original);
}

static bool begin(const struct sp_spans_setup *setup)
{
	(void)setup;
	/* Fork children have the arguments of the parent's start. */
	if (!argument)
		find_argument();
	sp_sample_name_source(SP_SAMPLE_PROCESS_TITLE, read_title);
	return false; /* found when there is a title */
}

const struct sp_span_source_ops sp_span_process_title = {
	.source = SP_SPAN_SOURCE_PROCESS_TITLE,
	.is_on_by_default = false,
	.begin = begin,
};
