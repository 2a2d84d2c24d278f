/*
 * A profile made of samples in memory, to be changed by tests before they report it.
 */
#ifndef MEMORY_VIEW_H
#define MEMORY_VIEW_H

#include "sp_profile_view.h"

struct memory_view {
	struct sp_profile_view view;
	struct sp_view_sample *samples;
	size_t count;
	size_t next;
	unsigned passes;
};

/* A CPU profile without modules and samples: samples/count, cpu/nanoseconds. */
void memory_view_init(struct memory_view *memory);
void memory_view_fini(struct memory_view *memory);

/*
 * Adds a sample, its frames copied; cpu is 10,000,000 times count. What is returned
 * may be changed until the next one is added.
 */
struct sp_view_sample *memory_view_add(struct memory_view *memory, int64_t count,
				       const uint64_t *frames, uint32_t frame_count);

void memory_view_label_text(struct sp_view_sample *sample, const char *key,
			    const char *text);
void memory_view_label_number(struct sp_view_sample *sample, const char *key,
			      int64_t number, const char *unit);

#endif
