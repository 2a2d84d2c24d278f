/*
 * Walking over lists of words that are separated by commas, as options are.
 */
#ifndef SP_LIST_H
#define SP_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* One of them; it ends in no NUL. */
struct sp_list_item {
	const char *at;
	size_t bytes;
};

/* Context: signal. The next item of the rest of a list; false: there are no more. */
static inline bool sp_list_next(const char **rest, struct sp_list_item *item)
{
	if (**rest == '\0')
		return false;
	item->at = *rest;
	item->bytes = strcspn(*rest, ",");
	*rest += item->bytes + ((*rest)[item->bytes] == ',');
	return true;
}

/* Context: signal. */
static inline bool sp_list_item_is(const struct sp_list_item *item, const char *word,
				   size_t word_bytes)
{
	return item->bytes == word_bytes && memcmp(item->at, word, word_bytes) == 0;
}

#endif
