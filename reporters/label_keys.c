/*
 * A short list of label keys, searched from its start: profiles have few. Context:
 * collector. Once text, a key stays text.
 */
#include "sp_label_keys.h"

#include <string.h>

/* Keys that begin so belong to the readers of profiles. */
static const char reserved_prefix[] = "pprof::";

static bool is_usable(const char *key)
{
	return key && key[0] != '\0' &&
	       strncmp(key, reserved_prefix, sizeof(reserved_prefix) - 1) != 0;
}

static uint32_t find_index(const struct sp_label_keys *keys, const char *key)
{
	uint32_t index = 0;

	while (index < keys->count && keys->keys[index].key != key &&
	       strcmp(keys->keys[index].key, key) != 0)
		index++;
	return index;
}

void sp_label_keys_init(struct sp_label_keys *keys)
{
	keys->count = 0;
	keys->left_out_labels = 0;
}

void sp_label_keys_note(struct sp_label_keys *keys, const struct sp_view_label *label)
{
	uint32_t index;

	if (!is_usable(label->key)) {
		keys->left_out_labels++;
		return;
	}
	index = find_index(keys, label->key);
	if (index == SP_LABEL_KEYS_MAX) {
		keys->left_out_labels++;
		return;
	}
	if (index == keys->count) {
		keys->keys[index] = (struct sp_label_key){.key = label->key};
		keys->count++;
	}
	if (label->str)
		keys->keys[index].is_text = true;
}

const struct sp_label_key *sp_label_keys_find(const struct sp_label_keys *keys,
					      const struct sp_view_label *label)
{
	uint32_t index;

	if (!is_usable(label->key))
		return NULL;
	index = find_index(keys, label->key);
	return index < keys->count ? &keys->keys[index] : NULL;
}
