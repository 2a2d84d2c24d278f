/*
 * Options that are lists of words. Context: signal; invariant: what is stored is in
 * the form that sp_options_list_make() gives it.
 */
#include "sp_list.h"
#include "sp_options.h"

#include <errno.h>
#include <string.h>

static const char blanks[] = " \t";

int sp_options_list_make(const char *text, char *list, size_t list_bytes)
{
	size_t used_bytes = 0;

	list[0] = '\0';
	for (;;) {
		size_t bytes;
		const char *end;

		text += strspn(text, ", \t");
		if (*text == '\0')
			return 0;
		bytes = strcspn(text, ",");
		end = text + bytes;
		while (strchr(blanks, text[bytes - 1]))
			bytes--;
		if (used_bytes + (used_bytes != 0) + bytes >= list_bytes) {
			list[0] = '\0';
			return -ERANGE;
		}
		if (used_bytes)
			list[used_bytes++] = ',';
		memcpy(list + used_bytes, text, bytes);
		used_bytes += bytes;
		list[used_bytes] = '\0';
		text = end;
	}
}

/* Where an item is; NULL if nowhere. */
static const char *find(const char *list, const char *item)
{
	size_t item_bytes = strlen(item);
	struct sp_list_item at;

	while (sp_list_next(&list, &at))
		if (sp_list_item_is(&at, item, item_bytes))
			return at.at;
	return NULL;
}

bool sp_options_list_has(const char *list, const char *item)
{
	return find(list, item) != NULL;
}

void sp_options_list_remove(char *list, const char *item)
{
	const char *found;

	while ((found = find(list, item)) != NULL) {
		char *at = list + (found - list);
		size_t bytes = strlen(item);

		/* With the comma after it, or else the one before. */
		if (at[bytes] != ',' && at != list)
			at--;
		bytes += strchr(at, ',') != NULL;
		memmove(at, at + bytes, strlen(at + bytes) + 1);
	}
}
