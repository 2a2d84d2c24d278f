/*
 * A CPU profile to a file: view, reporter, sink. Context: collector.
 */
#include "sp_collector.h"

#include "profile_cpu.h"
#include "sp_file_sink.h"
#include "sp_heap.h"
#include "sp_reporter.h"
#include "sp_text.h"

#include <errno.h>
#include <string.h>

/* The recording's header keeps what the options said when the program ran. */
static int make_name(const struct sp_recording_header *header, const char *kind,
		     const char *extension, char *name, size_t name_bytes)
{
	struct sp_options *options = sp_heap_zalloc(sizeof(*options));
	struct sp_text pattern;
	int err;

	if (!options)
		return -ENOMEM;
	sp_text_init(&pattern, options->file_pattern, sizeof(options->file_pattern));
	sp_text_string(&pattern, header->file_pattern);
	err = sp_options_file_name(options, header->program, (int)header->pid,
				   header->start_realtime_ns, kind, extension, name,
				   name_bytes);
	sp_heap_free(options);
	return err;
}

static int write_view(const struct sp_profile_view *view,
		      const struct sp_reporter_ops *reporter, int dir_fd,
		      bool may_replace, char *name)
{
	struct sp_file_sink file;
	int err = sp_file_sink_open(&file, dir_fd, name);

	if (err)
		return err;
	err = reporter->write_profile(view, &file.sink);
	if (err) {
		sp_file_sink_abort(&file);
		return err;
	}
	err = sp_file_sink_commit(&file, may_replace);
	if (!err)
		memcpy(name, file.name, sizeof(file.name));
	return err;
}

void sp_collector_write_cpu(const struct sp_recording *recording, int dir_fd,
			    bool may_replace, struct sp_write_summary *summary)
{
	const struct sp_reporter_ops *reporter = sp_reporter_find("pprof");
	char name[NAME_MAX + 1] = "";
	struct sp_cpu_profile *profile;

	/* The name of the first write stays, also if another file had it first. */
	if (may_replace)
		memcpy(name, summary->file, sizeof(name));
	memset(summary, 0, sizeof(*summary));
	if (!*name)
		summary->error = make_name(recording->header, "cpu", reporter->extension,
					   name, sizeof(name));
	if (summary->error)
		return;
	profile = sp_cpu_profile_create(recording);
	if (!profile) {
		summary->error = -ENOMEM;
		return;
	}
	summary->error = write_view(sp_cpu_profile_view(profile), reporter, dir_fd,
				    may_replace, name);
	memcpy(summary->file, name, sizeof(summary->file));
	summary->samples = sp_cpu_profile_totals(profile)->samples;
	summary->cpu_ns = sp_cpu_profile_totals(profile)->cpu_ns;
	summary->lost_samples = sp_cpu_profile_totals(profile)->lost_samples;
	sp_cpu_profile_destroy(profile);
}
