/*
 * Where spans come from. A source is one file that defines one struct sp_span_source_ops
 * and is listed in sources.c; it turns what a program does anyway into calls of
 * sp_span_capture.h.
 */
#ifndef SP_SPANS_H
#define SP_SPANS_H

#include "sp_recording_span.h"
#include "sp_text.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

/* What sources need of the options. */
struct sp_spans_setup {
	const char *sources;	  /* names with "-" before those switched off, or "" */
	const char *functions;	  /* patterns of library functions, or "" */
	const char *labels;	  /* keys of labels that are recorded, or "" */
	char *const *environment; /* NULL: as the call before found it */
};

struct sp_span_source_ops {
	enum sp_span_source source;
	bool is_on_by_default;
	/*
	 * Context: init, or in a fork child whose recording has just begun. True when
	 * there is something to follow. NULL: it starts by itself.
	 */
	bool (*begin)(const struct sp_spans_setup *setup);
	/*
	 * Context: collector. A module was loaded at start, and may be unloaded at any
	 * moment. False: to be told of it again. NULL: nothing to do.
	 */
	bool (*module_loaded)(uint64_t start, const struct link_map *link_map);
	/* Context: collector. Is there perhaps something for module_loaded()? Asked
	 * each round; a source that looks for something else does so here. */
	bool (*wants_modules)(void);
	/* Context: collector. All modules that were there when wants_modules() was asked
	 * last have been told, as far as they could be found. NULL: nothing to do. */
	void (*modules_told)(void);
};

/*
 * Context: init. Are all items of a list of sources names of such, with or without "-"?
 * If not, error says which one is none, and the nearest that is.
 */
bool sp_spans_check(const char *list, char *error, unsigned long error_bytes);

/* Context: init. Begins all sources that are switched on. */
void sp_spans_begin(const struct sp_spans_setup *setup);

/* Context: collector. Tells all sources that are switched on, or asks them. */
bool sp_spans_module_loaded(uint64_t start, const struct link_map *link_map);
bool sp_spans_want_modules(void);
void sp_spans_modules_told(void);

/* Context: collector; as part of the line at exit: "; no calls found of PQexek", or
 * nothing. */
void sp_spans_say_unmet(struct sp_text *text);

/* Context: signal. Is this source switched on? */
bool sp_spans_is_on(enum sp_span_source source);

#endif
