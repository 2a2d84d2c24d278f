/*
 * Whether samples carry a label when they should, and do not when they should not: the
 * truth is in their stacks.
 */
#ifndef LABEL_SHARES_H
#define LABEL_SHARES_H

#include "profile_decode.h"
#include "victim.h"

#include <stdbool.h>
#include <stdint.h>

typedef Perftools__Profiles__Sample label_sample;

/* Of one sample; context as given below. */
typedef bool (*label_question)(const struct profile *profile, const label_sample *sample,
			       const void *context);

/* In samples of the profile's first kind of value. */
struct label_shares {
	int64_t in, in_labelled, out, out_unlabelled;
};

/*
 * Adds the samples of a profile to the shares, but for those that are nobody's or ours
 * and those for which is_counted (NULL: all) says no.
 */
struct label_rule {
	label_question is_counted, is_inside, is_labelled;
	const void *context;
};
void label_shares_add(const char *path, const struct label_rule *rule,
		      struct label_shares *shares);

/* The same of the victim's profiles of that pattern; asserts that there are some. */
void label_shares_add_victim(const struct victim *victim, const char *pattern,
			     const struct label_rule *rule, struct label_shares *shares);

/* Are they as many as label_shares_assert() wants? On a busy machine the kernel's ticks,
 * and with them samples, are rarer. */
bool label_shares_are_enough(const struct label_shares *shares);

/* Asserts 1,000 samples, a quarter of them on either side at least, and 99 % right on
 * both. what: for the reader of the test's output. */
void label_shares_assert(const struct label_shares *shares, const char *what);

/* The same of one victim's profiles of that pattern, all together. */
void label_shares_check(const struct victim *victim, const char *pattern,
			const struct label_rule *rule, const char *what);

/* Text of a sample's label; NULL if it has none of that key. */
const char *label_text(const struct profile *profile, const label_sample *sample,
		       const char *key);

/* The most common rule: inside is what has that function in its stack; it carries that
 * very label, and what is outside does not. context: struct label_of_function. */
struct label_of_function {
	const char *function, *key, *value;
};
bool label_has_function(const struct profile *profile, const label_sample *sample,
			const void *context);
bool label_has_value(const struct profile *profile, const label_sample *sample,
		     const void *context);

#endif
