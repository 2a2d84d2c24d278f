/*
 * Recovery: a private copy of the recording, its journal and rings drained, its
 * profiles written. Context: collector, in the command.
 */
#include "sp_recover.h"

#include "sp_absorb.h"
#include "sp_clock.h"
#include "sp_heap.h"
#include "sp_process_identity.h"
#include "sp_recording_reader.h"
#include "sp_text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int check_alive(const struct sp_recording *recording,
		       const struct sp_recover_options *options,
		       struct sp_recover_result *result)
{
	int is_live = options->is_forced ? 0 : sp_recording_is_live(recording);

	if (is_live > 0) {
		snprintf(result->error, sizeof(result->error), "process %u still runs",
			 recording->header->pid);
		return -EBUSY;
	}
	if (is_live < 0) {
		snprintf(result->error, sizeof(result->error),
			 "recorded in another pid namespace, so nobody can tell here "
			 "whether "
			 "process %u still runs; use --force if it does not",
			 recording->header->pid);
		return is_live;
	}
	return 0;
}

/* Of a program that sleeps its thread has not looked at the clocks for long. */
static void note_time(struct sp_recording *recording)
{
	if (sp_recording_is_live(recording) > 0)
		atomic_store_explicit(&recording->header->last_update_monotonic_ns,
				      sp_clock_monotonic_ns(), memory_order_relaxed);
}

static int drain(struct sp_recording *recording, struct sp_recover_result *result)
{
	struct sp_absorber *absorber = sp_heap_zalloc(sizeof(*absorber));
	int err;

	if (!absorber) {
		snprintf(result->error, sizeof(result->error), "no memory");
		return -ENOMEM;
	}
	err = sp_absorber_init(absorber, recording);
	if (err == -ENOMEM)
		snprintf(result->error, sizeof(result->error), "no memory");
	else if (err)
		snprintf(result->error, sizeof(result->error),
			 "its tables are damaged or full");
	else
		sp_absorber_drain(absorber);
	sp_absorber_fini(absorber);
	sp_heap_free(absorber);
	if (!err)
		err = sp_recording_check_sums(recording, result->error,
					      sizeof(result->error));
	return err;
}

/* What is lost, and which sources of spans were found, is told with the first of the
 * files. */
static void list_file(const struct sp_write_summary *summary, enum sp_profile_kind kind,
		      struct sp_recover_result *result)
{
	unsigned int index = result->file_count++;
	struct sp_text text;

	memcpy(result->files[index].name, summary->kinds[kind].file,
	       sizeof(result->files[index].name));
	sp_text_init(&text, result->files[index].summary,
		     sizeof(result->files[index].summary));
	sp_write_summary_say_kind(summary, kind, &text);
	if (index == 0) {
		sp_text_string(&text, ", ");
		sp_text_decimal(&text, summary->lost_samples);
		sp_text_string(&text, " samples lost");
		sp_write_summary_say_sources(summary, &text);
	}
}

static int write_profiles(struct sp_recording *recording, int out_dir_fd,
			  struct sp_recover_result *result)
{
	struct sp_write_summary summary;

	memset(&summary, 0, sizeof(summary));
	sp_collector_write(recording, out_dir_fd, 0, &summary);
	for (unsigned int kind = 0; kind < SP_PROFILE_KINDS; kind++) {
		if (summary.kinds[kind].file[0] != '\0')
			list_file(&summary, kind, result);
		if (summary.kinds[kind].error && result->error[0] == '\0')
			snprintf(result->error, sizeof(result->error),
				 "cannot write its %s profile: %s",
				 sp_profile_kind_name(kind),
				 strerrordesc_np(-summary.kinds[kind].error));
	}
	return sp_write_summary_error(&summary);
}

/* Nobody takes longer to begin, even where the machine is busy. */
#define MAKING_NS_MAX (10 * SP_NS_PER_SECOND)

/* What tells that its process may run, perhaps in another pid namespace; or "". */
static void say_who_makes_it(const struct sp_unfinished *unfinished, struct sp_text *why)
{
	struct sp_process_identity now;

	sp_process_identity_read(&now, unfinished->pid);
	if (now.start_ticks != 0) {
		sp_text_string(why, "process ");
		sp_text_decimal(why, (uint64_t)unfinished->pid);
		sp_text_string(why, " is just making it");
	} else if (unfinished->is_open) {
		sp_text_string(why, "a process that cannot be seen from here is just "
				    "making it");
	} else if (unfinished->age_ns < MAKING_NS_MAX) {
		sp_text_string(why, "it is only ");
		sp_text_decimal(why, unfinished->age_ns / SP_NS_PER_SECOND);
		sp_text_string(why, " s old: a process that cannot be seen from here may "
				    "be just making it");
	}
}

/* -EBUSY where its process may run; else 0. */
static int judge_unfinished(const struct sp_unfinished *unfinished,
			    const struct sp_recover_options *options,
			    struct sp_recover_result *result)
{
	struct sp_text why;

	sp_text_init(&why, result->error, sizeof(result->error));
	say_who_makes_it(unfinished, &why);
	if (result->error[0] != '\0' && !options->is_forced)
		return -EBUSY;
	snprintf(result->state, sizeof(result->state), "%s",
		 result->error[0] != '\0'
			 ? "there is nothing in it yet"
			 : "its process was killed before there was anything to record");
	result->error[0] = '\0';
	return 0;
}

int sp_recover_file(const char *path, int out_dir_fd,
		    const struct sp_recover_options *options,
		    struct sp_recover_result *result)
{
	struct sp_unfinished unfinished;
	struct sp_recording recording;
	int err;

	memset(result, 0, sizeof(*result));
	if (sp_recording_is_unfinished(path, &unfinished))
		return judge_unfinished(&unfinished, options, result);
	err = options->is_forced ? sp_recording_open_live(&recording, path, result->error,
							  sizeof(result->error))
				 : sp_recording_open(&recording, path, result->error,
						     sizeof(result->error));
	if (err)
		return err;
	err = check_alive(&recording, options, result);
	if (err)
		goto out;
	if (atomic_load_explicit(&recording.header->state, memory_order_relaxed) ==
	    SP_RECORDING_ENDED) {
		snprintf(result->state, sizeof(result->state),
			 "its process ended by itself and has written its profiles");
		goto out;
	}
	if (options->file_pattern) {
		struct sp_text pattern;

		sp_text_init(&pattern, recording.header->file_pattern,
			     sizeof(recording.header->file_pattern));
		sp_text_string(&pattern, options->file_pattern);
	}
	note_time(&recording);
	err = drain(&recording, result);
	if (!err)
		err = write_profiles(&recording, out_dir_fd, result);
out:
	sp_recording_close(&recording);
	return err;
}
