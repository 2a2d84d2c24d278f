/*
 * What kind of value each label key of a profile has. A pprof reader takes a key
 * for text or for a number throughout, so a key that is met as both becomes
 * text.
 *
 * Context of everything here: collector. Keys are compared, not kept: they must
 * live as long as the table.
 */
#ifndef SP_LABEL_KEYS_H
#define SP_LABEL_KEYS_H

#include "sp_profile_view.h"

/* Twice what servers of profiles take. */
#define SP_LABEL_KEYS_MAX 64

struct sp_label_key {
	const char *key;
	bool is_text;
};

struct sp_label_keys {
	struct sp_label_key keys[SP_LABEL_KEYS_MAX];
	uint32_t count;
	uint64_t left_out_labels; /* met when the table was full */
};

void sp_label_keys_init(struct sp_label_keys *keys);

/* Learns from one label. */
void sp_label_keys_note(struct sp_label_keys *keys, const struct sp_view_label *label);

/* NULL for a label to leave out: no room for its key, or a key we may not use. */
const struct sp_label_key *sp_label_keys_find(const struct sp_label_keys *keys,
					      const struct sp_view_label *label);

#endif
