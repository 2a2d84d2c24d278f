/*
 * What the agent's thread says to the user. Context: collector; without the C library's
 * printf family but for sp_log's, for it may be in a signal handler of the program.
 */
#include "reporter_words.h"

#include "shortage.h"
#include "sp_log.h"
#include "sp_text.h"

#include <string.h>

void sp_reporter_tell_no_place(const struct sp_reporter_setup *setup)
{
	const struct sp_options *options = setup->options;

	sp_log_error("no directory takes the recording (tried %s, %s): if this process "
		     "is killed, its profile is lost",
		     options->recording_dir[0] ? options->recording_dir
					       : "XDG_RUNTIME_DIR, /dev/shm",
		     options->out_dir);
}

static const char *rest_of(const struct sp_recording *recording)
{
	return recording->is_file ? "spanprof recover takes them from "
				  : "the recording is lost";
}

void sp_reporter_tell_no_stack(const struct sp_reporter_setup *setup)
{
	sp_log_error("no memory to write profiles with; %s%s", rest_of(setup->recording),
		     setup->recording->path);
}

static void tell_numbers(const struct sp_recording *recording)
{
	sp_log_verbose(
		"%llu modules, %llu frames of stacks, %llu sums; %llu KiB of storage, "
		"%llu us of the agent's own CPU time",
		(unsigned long long)sp_recording_used(recording, SP_SECTION_MODULES),
		(unsigned long long)sp_recording_used(recording, SP_SECTION_NODES),
		(unsigned long long)sp_recording_used(recording, SP_SECTION_CELLS),
		(unsigned long long)sp_atomic_value(&recording->header->storage_bytes) /
			1024,
		(unsigned long long)sp_atomic_value(&recording->header->agent_cpu_ns) /
			1000);
}

static void tell_failure(const struct sp_reporter_setup *setup,
			 const struct sp_write_summary *summary)
{
	const struct sp_recording *recording = setup->recording;
	int err = sp_write_summary_error(summary);
	char kinds[64];
	struct sp_text text;

	sp_text_init(&text, kinds, sizeof(kinds));
	for (unsigned int kind = 0; kind < SP_PROFILE_KINDS; kind++) {
		if (!summary->kinds[kind].error)
			continue;
		sp_text_string(&text, text.used_bytes ? ", " : " (");
		sp_text_string(&text, sp_profile_kind_name(kind));
	}
	sp_text_string(&text, text.used_bytes ? ")" : "");
	sp_log_error("cannot write profiles%s to %s: %s; %s%s", kinds,
		     setup->options->out_dir, strerrordesc_np(-err), rest_of(recording),
		     recording->path);
}

void sp_reporter_tell_end(const struct sp_reporter_setup *setup,
			  const struct sp_write_summary *summary)
{
	const struct sp_recording *recording = setup->recording;
	char line[1024], shortage[64];
	struct sp_text text;

	if (sp_write_summary_error(summary)) {
		tell_failure(setup, summary);
		return;
	}
	tell_numbers(recording);
	sp_text_init(&text, line, sizeof(line));
	sp_write_summary_say(summary, setup->options->out_dir, &text);
	setup->calls->say_unmet_spans(&text);
	sp_shortage_say(recording->header, shortage, sizeof(shortage));
	sp_log_note("wrote %s%s", line, shortage);
}

/* Of a program that gave up its user, for one. */
void sp_reporter_tell_left(const struct sp_reporter_setup *setup, int err)
{
	if (err)
		sp_log_error("cannot remove the recording %s: %s; spanprof recover "
			     "--remove does",
			     setup->recording->path, strerrordesc_np(-err));
}
