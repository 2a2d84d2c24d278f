/*
 * The profiles of a recording to files: views, reporter, sinks. Context: collector.
 */
#include "sp_collector.h"

#include "leaks.h"
#include "profile_common.h"
#include "profile_cpu.h"
#include "profile_heap.h"
#include "profile_spans.h"
#include "sp_compiler.h"
#include "sp_file_sink.h"
#include "sp_known_names.h"
#include "sp_reporter.h"
#include "sp_syscall.h"

#include <errno.h>
#include <string.h>

/* All profiles that are written at one time. */
struct writing {
	const struct sp_recording *recording;
	struct sp_known_names names;
	int dir_fd;
	struct sp_write_summary *summary;
};

static int write_file(struct writing *writing, const struct sp_profile_view *view,
		      bool may_replace, char *name)
{
	const struct sp_reporter_ops *reporter = sp_reporter_find("pprof");
	struct sp_file_sink file;
	int err = sp_file_sink_open(&file, writing->dir_fd, name);

	if (err)
		return err;
	err = reporter->write_profile(view, &writing->names, &file.sink);
	if (err) {
		sp_file_sink_abort(&file);
		return err;
	}
	err = sp_file_sink_commit(&file, may_replace);
	if (!err)
		memcpy(name, file.name, sizeof(file.name));
	return err;
}

/*
 * All profiles of one process have names that differ in the kind only, also where
 * another process had the name first and a number was put in.
 */
static bool name_like_others(const struct sp_write_summary *summary,
			     enum sp_profile_kind kind, const char *extension, char *name,
			     size_t name_bytes)
{
	for (unsigned int other = 0; other < SP_PROFILE_KINDS; other++) {
		const char *file = summary->kinds[other].file;
		size_t stem_bytes = sp_profile_stem_bytes(file, other);
		struct sp_text text;

		if (file[stem_bytes] == '\0')
			continue;
		sp_text_init(&text, name, name_bytes);
		for (size_t i = 0; i < stem_bytes; i++)
			sp_text_char(&text, file[i]);
		sp_text_string(&text, ".");
		sp_text_string(&text, sp_profile_kind_name(kind));
		sp_text_string(&text, ".");
		sp_text_string(&text, extension);
		return !text.is_cut;
	}
	return false;
}

/* The name of the first write stays. */
static void write_kind(struct writing *writing, const struct sp_profile_view *view,
		       enum sp_profile_kind kind)
{
	const struct sp_recording_header *header = writing->recording->header;
	struct sp_write_summary *summary = writing->summary;
	const char *extension = sp_reporter_find("pprof")->extension;
	char name[NAME_MAX + 1];
	bool is_again = summary->kinds[kind].file[0] != '\0';
	int err = 0;

	memcpy(name, summary->kinds[kind].file, sizeof(name));
	if (!is_again && !name_like_others(summary, kind, extension, name, sizeof(name)))
		/* The header keeps what the options said when the program ran. */
		err = sp_options_file_name(header->file_pattern, header->program,
					   (int)header->pid, header->start_realtime_ns,
					   sp_profile_kind_name(kind), extension, name,
					   sizeof(name));
	if (!err)
		err = write_file(writing, view, is_again, name);
	if (!err)
		memcpy(summary->kinds[kind].file, name, sizeof(name));
	summary->kinds[kind].error = err;
}

static void write_cpu(struct writing *writing)
{
	struct sp_cpu_profile *profile = sp_cpu_profile_create(writing->recording);
	struct sp_write_summary *summary = writing->summary;
	const struct sp_cpu_totals *totals;

	if (!profile) {
		summary->kinds[SP_PROFILE_CPU].error = -ENOMEM;
		return;
	}
	totals = sp_cpu_profile_totals(profile);
	summary->samples = totals->samples;
	summary->cpu_ns = totals->cpu_ns;
	summary->lost_samples += totals->lost_samples;
	write_kind(writing, sp_cpu_profile_view(profile), SP_PROFILE_CPU);
	sp_cpu_profile_destroy(profile);
}

static void take_heap_totals(const struct sp_heap_totals *totals,
			     struct sp_write_summary *summary)
{
	summary->allocated_bytes = totals->exact_bytes;
	summary->in_use_bytes = sp_profile_integer(totals->of[SP_HEAP_INUSE_BYTES] + 0.5);
	summary->peak_bytes = sp_profile_integer(totals->of[SP_HEAP_PEAK_BYTES] + 0.5);
	summary->freed_bytes = sp_profile_integer(totals->of[SP_HEAP_FREED_BYTES] + 0.5);
	summary->lost_samples += totals->lost_samples;
}

static void write_heap(struct writing *writing, const struct sp_heap_profile *profile,
		       bool wants_leaks)
{
	static const struct {
		enum sp_profile_kind kind;
		enum sp_heap_view view;
		bool is_optional; /* tells nothing where nothing was sampled */
	} files[] = {
		{SP_PROFILE_HEAP, SP_HEAP_VIEW_HEAP, false},
		{SP_PROFILE_PEAK, SP_HEAP_VIEW_PEAK, true},
		{SP_PROFILE_LIFETIMES, SP_HEAP_VIEW_LIFETIMES, true},
		{SP_PROFILE_LEAKS, SP_HEAP_VIEW_LEAKS, false},
	};
	const struct sp_heap_totals *totals = &sp_heap_profile_values(profile)->totals;
	const struct sp_recording_header *header = writing->recording->header;
	struct sp_write_summary *summary = writing->summary;

	take_heap_totals(totals, summary);
	summary->is_heap_exact = header->heap_rate_bytes <= 1;
	summary->heap_coverage = sp_atomic_value(&header->heap_coverage);
	for (size_t i = 0; i < SP_ARRAY_COUNT(files); i++) {
		if (files[i].is_optional && totals->of[SP_HEAP_ALLOC_OBJECTS] <= 0)
			continue;
		if (files[i].kind == SP_PROFILE_LEAKS && !wants_leaks)
			continue;
		write_kind(writing, sp_heap_profile_view(profile, files[i].view),
			   files[i].kind);
	}
	if (wants_leaks)
		sp_leaks_tell(profile, &writing->names);
}

static void write_spans(struct writing *writing, const struct sp_heap_profile *heap)
{
	struct sp_span_profile *profile = sp_span_profile_create(
		writing->recording, heap ? sp_heap_profile_values(heap) : NULL);
	struct sp_write_summary *summary = writing->summary;
	const struct sp_span_totals *totals;

	if (!profile) {
		summary->kinds[SP_PROFILE_SPANS].error = -ENOMEM;
		return;
	}
	totals = sp_span_profile_totals(profile);
	summary->spans = totals->of[SP_SPAN_SPANS] + totals->open_spans;
	write_kind(writing, sp_span_profile_view(profile), SP_PROFILE_SPANS);
	sp_span_profile_destroy(profile);
}

/* One pass over a module's symbols is to find what the heap profiles show of it, too. */
static void expect_heap_frames(struct writing *writing,
			       const struct sp_heap_profile *profile)
{
	const struct sp_heap_values *values = sp_heap_profile_values(profile);

	for (uint64_t cell = 0; cell < values->cell_count; cell++) {
		const uint64_t *frames;
		uint32_t frame_count;

		if (values->cells[cell].of[SP_HEAP_ALLOC_OBJECTS] <= 0 ||
		    !sp_heap_values_stack(values, cell, &frames, &frame_count))
			continue;
		for (uint32_t i = 0; i < frame_count; i++)
			sp_known_names_expect(&writing->names, frames[i]);
	}
}

static void write_all(struct writing *writing, bool wants_leaks)
{
	const struct sp_recording_header *header = writing->recording->header;
	struct sp_heap_profile *heap = NULL;

	if (header->heap_rate_bytes)
		heap = sp_heap_profile_create(writing->recording);
	if (header->cpu_period_ns) {
		if (heap)
			expect_heap_frames(writing, heap);
		write_cpu(writing);
	}
	if (heap)
		write_heap(writing, heap, wants_leaks);
	else if (header->heap_rate_bytes)
		writing->summary->kinds[SP_PROFILE_HEAP].error = -ENOMEM;
	if (sp_span_values_has_any(writing->recording))
		write_spans(writing, heap);
	if (heap)
		sp_heap_profile_destroy(heap);
}

void sp_collector_write(const struct sp_recording *recording, int dir_fd,
			unsigned int wishes, struct sp_write_summary *summary)
{
	struct writing writing = {
		.recording = recording, .dir_fd = dir_fd, .summary = summary};

	for (unsigned int kind = 0; kind < SP_PROFILE_KINDS; kind++)
		summary->kinds[kind].error = 0;
	summary->lost_samples = 0;
	summary->lost_spans =
		sp_atomic_value(&recording->header->losses[SP_LOSS_SPAN_NO_ROOM]);
	summary->found_sources = atomic_load_explicit(&recording->header->found_sources,
						      memory_order_relaxed);
	summary->error = sp_known_names_init(&writing.names);
	if (!summary->error)
		write_all(&writing, wishes & SP_WRITE_LEAKS);
	sp_known_names_fini(&writing.names);
}
