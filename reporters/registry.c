/*
 * From the name in SPANPROF_REPORTER to the reporter. Context: init; a table that
 * never changes.
 */
#include "sp_compiler.h"
#include "sp_reporter.h"

#include <string.h>

static const struct sp_reporter_ops *const reporters[] = {
	&sp_reporter_pprof,
};

const struct sp_reporter_ops *sp_reporter_find(const char *name)
{
	for (size_t i = 0; name && i < SP_ARRAY_COUNT(reporters); i++) {
		if (strcmp(reporters[i]->name, name) == 0)
			return reporters[i];
	}
	return NULL;
}

const struct sp_reporter_ops *sp_reporter_at(size_t index)
{
	return index < SP_ARRAY_COUNT(reporters) ? reporters[index] : NULL;
}
