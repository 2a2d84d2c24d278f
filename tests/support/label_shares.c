/* Samples counted by what their stack and what their labels say. */
#include "label_shares.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define SAMPLES_MIN 1000
#define SHARE_MIN 0.99

static bool is_of_program(const struct profile *profile, const label_sample *sample)
{
	return !profile_sample_has(profile, sample, "[spanprof]") &&
	       !profile_sample_has(profile, sample, "[unsampled]") &&
	       !profile_sample_has(profile, sample, "[dropped]");
}

void label_shares_add(const char *path, const struct label_rule *rule,
		      struct label_shares *shares)
{
	char error[256] = "";
	struct profile *profile = profile_decode_file(path, error, sizeof(error));

	ck_assert_msg(profile != NULL, "%s: %s", path, error);
	ck_assert_msg(profile_check(profile, error, sizeof(error)), "%s: %s", path,
		      error);
	for (size_t i = 0; i < profile->message->n_sample; i++) {
		const label_sample *sample = profile->message->sample[i];
		bool is_labelled;

		if (!is_of_program(profile, sample) ||
		    (rule->is_counted &&
		     !rule->is_counted(profile, sample, rule->context)))
			continue;
		is_labelled = rule->is_labelled(profile, sample, rule->context);
		if (rule->is_inside(profile, sample, rule->context)) {
			shares->in += sample->value[0];
			shares->in_labelled += is_labelled ? sample->value[0] : 0;
		} else {
			shares->out += sample->value[0];
			shares->out_unlabelled += is_labelled ? 0 : sample->value[0];
		}
	}
	profile_free(profile);
}

bool label_shares_are_enough(const struct label_shares *shares)
{
	return shares->in + shares->out >= SAMPLES_MIN && shares->in >= SAMPLES_MIN / 4 &&
	       shares->out >= SAMPLES_MIN / 4;
}

void label_shares_assert(const struct label_shares *shares, const char *what)
{
	printf("%s: %lld of %lld samples within, %lld of %lld outside\n", what,
	       (long long)shares->in_labelled, (long long)shares->in,
	       (long long)shares->out_unlabelled, (long long)shares->out);
	fflush(stdout);
	ck_assert_int_ge(shares->in + shares->out, SAMPLES_MIN);
	ck_assert_int_ge(shares->in, SAMPLES_MIN / 4);
	ck_assert_int_ge(shares->out, SAMPLES_MIN / 4);
	ck_assert_double_ge((double)shares->in_labelled, SHARE_MIN * (double)shares->in);
	ck_assert_double_ge((double)shares->out_unlabelled,
			    SHARE_MIN * (double)shares->out);
}

void label_shares_add_victim(const struct victim *victim, const char *pattern,
			     const struct label_rule *rule, struct label_shares *shares)
{
	struct victim_files files;

	victim_list(victim->profiles, pattern, &files);
	ck_assert_msg(files.count > 0, "no %s; said: %s", pattern, victim->agent_lines);
	for (size_t i = 0; i < files.count; i++)
		label_shares_add(files.paths[i], rule, shares);
	victim_files_free(&files);
}

void label_shares_check(const struct victim *victim, const char *pattern,
			const struct label_rule *rule, const char *what)
{
	struct label_shares shares = {0};

	label_shares_add_victim(victim, pattern, rule, &shares);
	label_shares_assert(&shares, what);
}

const char *label_text(const struct profile *profile, const label_sample *sample,
		       const char *key)
{
	const Perftools__Profiles__Label *label =
		profile_sample_label(profile, sample, key);

	return label ? profile_string(profile, label->str) : NULL;
}

bool label_has_function(const struct profile *profile, const label_sample *sample,
			const void *context)
{
	const struct label_of_function *rule = context;

	return profile_sample_has(profile, sample, rule->function);
}

bool label_has_value(const struct profile *profile, const label_sample *sample,
		     const void *context)
{
	const struct label_of_function *rule = context;
	const char *text = label_text(profile, sample, rule->key);

	return text && strcmp(text, rule->value) == 0;
}
