/*
 * What was written, in words, for the line at exit and for the command. Context:
 * collector; without the C library's printf family, for it may be in a signal handler
 * of the program.
 */
#include "sp_collector.h"

#include "profile_comments.h"
#include "profile_common.h"
#include "sp_clock.h"
#include "sp_recording_spans.h"

#include <limits.h>
#include <string.h>

#define EXTENSION ".pb.gz"

const char *sp_profile_kind_name(enum sp_profile_kind kind)
{
	static const char *const names[SP_PROFILE_KINDS] = {
		[SP_PROFILE_CPU] = "cpu",     [SP_PROFILE_HEAP] = "heap",
		[SP_PROFILE_PEAK] = "peak",   [SP_PROFILE_LIFETIMES] = "lifetimes",
		[SP_PROFILE_LEAKS] = "leaks", [SP_PROFILE_SPANS] = "spans",
	};

	return names[kind];
}

bool sp_profile_names_fit(const char *pattern, const char *program)
{
	/* As many digits as the kernel's largest, and as the time in the next century. */
	const int pid = 4194304;
	const uint64_t start_ns = UINT64_C(4000000000000000000);
	char kept[SP_PROGRAM_NAME_BYTES], name[NAME_MAX + 1];
	struct sp_text text;
	bool do_fit = true;

	/* As the recording keeps it. */
	sp_text_init(&text, kept, sizeof(kept));
	sp_text_string(&text, program);
	for (unsigned int kind = 0; kind < SP_PROFILE_KINDS && do_fit; kind++)
		do_fit = sp_options_file_name(pattern, kept, pid, start_ns,
					      sp_profile_kind_name(kind), &EXTENSION[1],
					      name, sizeof(name)) == 0;
	return do_fit;
}

int sp_write_summary_error(const struct sp_write_summary *summary)
{
	int err = summary->error;

	for (unsigned int kind = 0; kind < SP_PROFILE_KINDS && !err; kind++)
		err = summary->kinds[kind].error;
	return err;
}

/* --- sums --- */

static void say_exactness(const struct sp_write_summary *summary, struct sp_text *text)
{
	sp_text_string(text, summary->is_heap_exact ? " (exact)" : " (estimate)");
}

/* Instead of numbers, where they would be 0 for a reason. */
static bool say_unseen(const struct sp_write_summary *summary, struct sp_text *text)
{
	if ((summary->heap_coverage != SP_HEAP_PROGRAM_HAS_OWN &&
	     summary->heap_coverage != SP_HEAP_LIBRARY_FIRST) ||
	    summary->allocated_bytes)
		return false;
	sp_text_string(text, summary->heap_coverage == SP_HEAP_PROGRAM_HAS_OWN
				     ? "heap not seen (the program defines malloc())"
				     : "heap not seen (a library defines malloc())");
	return true;
}

void sp_write_summary_say_kind(const struct sp_write_summary *summary,
			       enum sp_profile_kind kind, struct sp_text *text)
{
	switch (kind) {
	case SP_PROFILE_CPU:
		sp_text_decimal(text, summary->samples);
		sp_text_string(text, " samples, ");
		sp_comment_decimal(text, summary->cpu_ns / 1000000, 3);
		sp_text_string(text, " s of CPU time");
		break;
	case SP_PROFILE_HEAP:
		if (say_unseen(summary, text))
			break;
		sp_comment_bytes(text, summary->allocated_bytes);
		sp_text_string(text, " allocated (exact), ");
		sp_comment_bytes(text, summary->in_use_bytes);
		sp_text_string(text, " in use");
		say_exactness(summary, text);
		break;
	case SP_PROFILE_PEAK:
		sp_comment_bytes(text, summary->peak_bytes);
		sp_text_string(text, " in use at the peak");
		say_exactness(summary, text);
		break;
	case SP_PROFILE_LIFETIMES:
		sp_comment_bytes(text, summary->freed_bytes);
		sp_text_string(text, " freed");
		say_exactness(summary, text);
		break;
	case SP_PROFILE_LEAKS:
		sp_comment_bytes(text, summary->in_use_bytes);
		sp_text_string(text, " in use");
		say_exactness(summary, text);
		break;
	case SP_PROFILE_SPANS:
		sp_text_decimal(text, summary->spans);
		sp_text_string(text, summary->spans == 1 ? " span" : " spans");
		break;
	case SP_PROFILE_KINDS:
		break;
	}
}

/* --- files --- */

size_t sp_profile_stem_bytes(const char *name, enum sp_profile_kind kind)
{
	const char *kind_name = sp_profile_kind_name(kind);
	size_t name_bytes = strlen(name), kind_bytes = strlen(kind_name);
	size_t suffix_bytes = 1 + kind_bytes + strlen(EXTENSION);
	const char *suffix;

	if (name_bytes <= suffix_bytes)
		return name_bytes;
	suffix = name + name_bytes - suffix_bytes;
	return suffix[0] == '.' && memcmp(suffix + 1, kind_name, kind_bytes) == 0 &&
			       strcmp(suffix + 1 + kind_bytes, EXTENSION) == 0
		       ? name_bytes - suffix_bytes
		       : name_bytes;
}

static bool is_written(const struct sp_write_summary *summary, unsigned int kind)
{
	return summary->kinds[kind].file[0] != '\0' && !summary->kinds[kind].error;
}

/* Files that differ in their kind only. */
static bool is_alike(const struct sp_write_summary *summary, unsigned int one,
		     unsigned int other)
{
	const char *name = summary->kinds[one].file;
	const char *other_name = summary->kinds[other].file;
	size_t stem = sp_profile_stem_bytes(name, one);

	return name[stem] != '\0' && stem == sp_profile_stem_bytes(other_name, other) &&
	       memcmp(name, other_name, stem) == 0;
}

/* One name, as a shell would write it, for all files that are alike. */
static void say_files_like(const struct sp_write_summary *summary, unsigned int first,
			   struct sp_text *text)
{
	const char *name = summary->kinds[first].file;
	size_t stem = sp_profile_stem_bytes(name, first);
	unsigned int more = 0;

	for (unsigned int kind = first + 1; kind < SP_PROFILE_KINDS; kind++)
		more += is_written(summary, kind) && is_alike(summary, first, kind);
	if (!more) {
		sp_text_string(text, name);
		return;
	}
	for (size_t i = 0; i < stem; i++)
		sp_text_char(text, name[i]);
	sp_text_string(text, ".{");
	sp_text_string(text, sp_profile_kind_name(first));
	for (unsigned int kind = first + 1; kind < SP_PROFILE_KINDS; kind++) {
		if (!is_written(summary, kind) || !is_alike(summary, first, kind))
			continue;
		sp_text_string(text, ",");
		sp_text_string(text, sp_profile_kind_name(kind));
	}
	sp_text_string(text, "}" EXTENSION);
}

static void say_files(const struct sp_write_summary *summary, const char *folder,
		      struct sp_text *text)
{
	const char *separator = "";

	for (unsigned int kind = 0; kind < SP_PROFILE_KINDS; kind++) {
		bool is_said = !is_written(summary, kind);

		for (unsigned int before = 0; before < kind; before++)
			is_said |= is_written(summary, before) &&
				   is_alike(summary, before, kind);
		if (is_said)
			continue;
		sp_text_string(text, separator);
		sp_text_string(text, folder);
		sp_text_string(text, "/");
		say_files_like(summary, kind, text);
		separator = ", ";
	}
}

void sp_write_summary_say_sources(const struct sp_write_summary *summary,
				  struct sp_text *text)
{
	const char *separator = "; found: ";

	for (unsigned int source = 0; source < SP_SPAN_SOURCE_COUNT; source++) {
		if (!(summary->found_sources & 1U << source))
			continue;
		sp_text_string(text, separator);
		sp_text_string(text, sp_span_source_name(source));
		separator = ", ";
	}
}

void sp_write_summary_say(const struct sp_write_summary *summary, const char *folder,
			  struct sp_text *text)
{
	say_files(summary, folder, text);
	sp_text_string(text, ": ");
	if (is_written(summary, SP_PROFILE_CPU)) {
		sp_write_summary_say_kind(summary, SP_PROFILE_CPU, text);
		sp_text_string(text, ", ");
	}
	if (is_written(summary, SP_PROFILE_HEAP)) {
		sp_write_summary_say_kind(summary, SP_PROFILE_HEAP, text);
		sp_text_string(text, ", ");
	}
	if (is_written(summary, SP_PROFILE_SPANS)) {
		sp_write_summary_say_kind(summary, SP_PROFILE_SPANS, text);
		sp_text_string(text, ", ");
	}
	if (summary->lost_spans) {
		sp_text_decimal(text, summary->lost_spans);
		sp_text_string(text, " spans lost, ");
	}
	sp_text_decimal(text, summary->lost_samples);
	sp_text_string(text, " samples lost");
	sp_write_summary_say_sources(summary, text);
}
