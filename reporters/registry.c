/*
 * From the names in SPANPROF_REPORTER to the reporters. Context: init; a table that
 * never changes.
 */
#include "sp_compiler.h"
#include "sp_reporter.h"
#include "sp_text.h"

#include <string.h>

static const struct sp_reporter_ops *const reporters[] = {
	&sp_reporter_pprof,
	&sp_reporter_pyroscope,
};

static const struct sp_reporter_ops *find(const char *name, size_t name_bytes)
{
	for (size_t i = 0; i < SP_ARRAY_COUNT(reporters); i++) {
		if (strlen(reporters[i]->name) == name_bytes &&
		    memcmp(reporters[i]->name, name, name_bytes) == 0)
			return reporters[i];
	}
	return NULL;
}

const struct sp_reporter_ops *sp_reporter_find(const char *name)
{
	return name ? find(name, strlen(name)) : NULL;
}

const struct sp_reporter_ops *sp_reporter_listed(const char *list, size_t index)
{
	if (*list == '\0')
		return index == 0 ? &sp_reporter_pprof : NULL;
	while (*list != '\0') {
		size_t bytes = strcspn(list, ",");

		if (index-- == 0)
			return find(list, bytes);
		list += bytes + (list[bytes] == ',');
	}
	return NULL;
}

bool sp_reporter_is_listed(const char *list, const struct sp_reporter_ops *reporter)
{
	const struct sp_reporter_ops *listed;

	for (size_t i = 0; (listed = sp_reporter_listed(list, i)) != NULL; i++) {
		if (listed == reporter)
			return true;
	}
	return false;
}

bool sp_reporter_list_check(const char *list, char *error, size_t error_bytes)
{
	struct sp_text text;

	sp_text_init(&text, error, error_bytes);
	while (*list != '\0') {
		size_t bytes = strcspn(list, ",");

		if (!find(list, bytes)) {
			sp_text_char(&text, '"');
			for (size_t i = 0; i < bytes; i++)
				sp_text_char(&text, list[i]);
			sp_text_string(&text, "\" is no reporter; there are ");
			for (size_t i = 0; i < SP_ARRAY_COUNT(reporters); i++) {
				sp_text_string(&text, i ? ", " : "");
				sp_text_string(&text, reporters[i]->name);
			}
			return false;
		}
		list += bytes + (list[bytes] == ',');
	}
	return true;
}
