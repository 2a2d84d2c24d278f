/*
 * What the user wants: read from the environment once, mistakes told in one line.
 */
#include "start_options.h"

#include "agent.h"
#include "sp_alloc_choice.h"
#include "sp_alloc_next.h"
#include "sp_collector.h"
#include "sp_log.h"
#include "sp_options.h"
#include "sp_reporter_thread.h"
#include "sp_seccomp_trial.h"
#include "sp_spans.h"
#include "sp_syscall.h"
#include "sp_text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static void make_absolute(char *path, size_t path_bytes)
{
	char relative[PATH_MAX];
	struct sp_text text;

	if (*path == '/' || !*path)
		return;
	memcpy(relative, path,
	       path_bytes < sizeof(relative) ? path_bytes : sizeof(relative));
	if (sp_syscall2(SYS_getcwd, path, path_bytes) < 0) {
		memcpy(path, relative, path_bytes);
		return;
	}
	if (strcmp(relative, ".") == 0)
		return;
	sp_text_init(&text, path + strlen(path), path_bytes - strlen(path));
	sp_text_char(&text, '/');
	sp_text_string(&text, relative);
}

/* What the options' parser cannot know; option as the compact string has it, which a
 * variable overrules. */
static void tell_wrong(const char *option, const char *variable, const char *error)
{
	if (getenv(variable))
		sp_log_error("%s: %s; the program runs unprofiled", variable, error);
	else
		sp_log_error("%s in SPANPROF: %s; the program runs unprofiled", option,
			     error);
}

/* The choice itself is made long since, at the first allocation. */
static void tell_allocator(void)
{
	const char *refusal;

	sp_alloc_find();
	refusal = sp_alloc_refusal();
	if (refusal)
		sp_log_error("no jemalloc for the program: %s; its allocator stays",
			     refusal);
	else if (sp_alloc_is_jemalloc())
		sp_log_verbose("jemalloc serves the program");
}

bool sp_start_options_read(void)
{
	char error[512];
	bool is_mistaken;

	sp_options_init(&sp_agent.options);
	sp_log_init(STDERR_FILENO, false, false);
	is_mistaken =
		sp_options_parse(&sp_agent.options, environ, error, sizeof(error)) != 0;
	if (!is_mistaken && sp_agent.options.is_disabled)
		return false;
	/* What follows makes calls that the loader has not made. */
	if (!sp_seccomp_trial_passes()) {
		sp_seccomp_trial_tell();
		return false;
	}
	if (is_mistaken) {
		sp_log_error("%s", error);
		return false;
	}
	if (!sp_spans_check(sp_agent.options.span_sources, error, sizeof(error))) {
		tell_wrong("sources", "SPANPROF_SOURCES", error);
		return false;
	}
	if (!sp_reporter_thread_check(sp_agent.options.reporters, error, sizeof(error))) {
		tell_wrong("reporter", "SPANPROF_REPORTER", error);
		return false;
	}
	if (!sp_profile_names_fit(sp_agent.options.file_pattern, sp_agent.program)) {
		sp_log_error("SPANPROF_FILE: names of profiles would be longer than %d "
			     "bytes; the program runs unprofiled",
			     NAME_MAX);
		return false;
	}
	sp_log_init(STDERR_FILENO, sp_agent.options.is_quiet,
		    sp_agent.options.is_verbose);
	tell_allocator();
	make_absolute(sp_agent.options.out_dir, sizeof(sp_agent.options.out_dir));
	make_absolute(sp_agent.options.recording_dir,
		      sizeof(sp_agent.options.recording_dir));
	return sp_agent.options.is_cpu_enabled || sp_agent.options.is_heap_enabled;
}
