/*
 * A profile as its reporters see it: read-only, pulled sample by sample, so that
 * nobody holds a whole profile in memory twice.
 *
 * Context of everything here: collector. All pointers belong to the view and
 * live until the reporter returns.
 */
#ifndef SP_PROFILE_VIEW_H
#define SP_PROFILE_VIEW_H

#include "sp_frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_VIEW_VALUES_MAX 12
#define SP_VIEW_LABELS_MAX 16

struct sp_value_type {
	const char *type; /* "cpu" */
	const char *unit; /* "nanoseconds" */
};

/* One loaded object. Frames name it by its id. */
struct sp_view_module {
	uint16_t id;
	bool is_main;
	bool is_agent; /* our own code: named by what the program called of it */
	bool is_vdso;
	uint64_t base; /* address = base + frame offset */
	uint64_t text_start, text_end, text_file_offset;
	const uint8_t *build_id;
	uint32_t build_id_bytes;
	uint64_t fingerprint; /* sp_elf_fingerprint(); 0: not known */
	const char *path;
};

/* str is NULL for a numeric label. */
struct sp_view_label {
	const char *key;
	const char *str;
	int64_t number;
	const char *unit;
};

/* What a frame of SP_MODULE_NAMED stands for; its offset is the index. */
struct sp_view_named_frame {
	const char *name;
	const char *target; /* what the name belongs to; NULL or "" if nothing */
	const char *file;   /* NULL or "" if none */
	uint32_t line;
};

struct sp_view_sample {
	const uint64_t *frames; /* sp_frame.h, leaf first */
	uint32_t frame_count;
	int64_t values[SP_VIEW_VALUES_MAX]; /* as many as the view has value types */
	struct sp_view_label labels[SP_VIEW_LABELS_MAX];
	uint32_t label_count;
};

struct sp_profile_view {
	const char *kind; /* "cpu": names the file */
	struct sp_value_type value_types[SP_VIEW_VALUES_MAX];
	uint32_t value_type_count;
	uint32_t default_value_type; /* index */
	struct sp_value_type period_type;
	int64_t period;
	int64_t time_ns;     /* start, since 1970 */
	int64_t duration_ns; /* wall clock */
	int pid;	     /* for perf-PID.map */
	const struct sp_view_module *modules;
	uint32_t module_count;
	const struct sp_view_named_frame *named_frames;
	uint32_t named_frame_count;
	const char *const *comments;
	uint32_t comment_count;
	const char *drop_frames; /* regular expression, or NULL */
	/* 1 and *sample filled, 0 at the end, or -errno. rewind starts over; a
	 * reporter may make several passes and meets the same samples each time. */
	int (*next_sample)(void *cursor, struct sp_view_sample *sample);
	void (*rewind)(void *cursor);
	void *cursor;
};

#endif
