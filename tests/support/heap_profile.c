/*
 * Sums over a decoded heap profile, with what is wrong about it asserted at once.
 */
#include "heap_profile.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "profile_decode.h"

struct heap_profile {
	struct profile *decoded;
	int alloc_objects, alloc_space, inuse_objects, inuse_space; /* value index */
};

const char *heap_profile_path(const struct victim *victim, int pid, const char *kind,
			      char path[PATH_MAX])
{
	struct victim_files files;
	char pattern[64];

	snprintf(pattern, sizeof(pattern), "*.%d.%s.pb.gz", pid ? pid : victim->pid,
		 kind);
	victim_list(victim->profiles, pattern, &files);
	ck_assert_msg(files.count == 1, "%zu profiles %s; the agent said: %s",
		      files.count, pattern,
		      victim->agent_lines ? victim->agent_lines : "nothing yet");
	snprintf(path, PATH_MAX, "%s", files.paths[0]);
	victim_files_free(&files);
	return path;
}

/* The order of Go's heap profiles, which readers know. */
static void assert_types(const struct heap_profile *profile, const char *kind)
{
	if (strcmp(kind, "heap") == 0) {
		ck_assert_int_eq(profile->alloc_objects, 0);
		ck_assert_int_eq(profile->alloc_space, 1);
		ck_assert_int_eq(profile->inuse_objects, 2);
		ck_assert_int_eq(profile->inuse_space, 3);
	} else if (strcmp(kind, "peak") == 0) {
		ck_assert_int_eq(profile->inuse_objects, 0);
		ck_assert_int_eq(profile->inuse_space, 1);
		ck_assert_int_eq(profile->alloc_objects, -1);
	}
}

struct heap_profile *heap_profile_read(const char *path, const char *kind)
{
	struct heap_profile *profile = calloc(1, sizeof(*profile));
	char error[256] = "";

	ck_assert_ptr_nonnull(profile);
	profile->decoded = profile_decode_file(path, error, sizeof(error));
	ck_assert_msg(profile->decoded != NULL, "%s: %s", path, error);
	ck_assert_msg(profile_check(profile->decoded, error, sizeof(error)), "%s: %s",
		      path, error);
	profile->alloc_objects = profile_value_index(profile->decoded, "alloc_objects");
	profile->alloc_space = profile_value_index(profile->decoded, "alloc_space");
	profile->inuse_objects = profile_value_index(profile->decoded, "inuse_objects");
	profile->inuse_space = profile_value_index(profile->decoded, "inuse_space");
	assert_types(profile, kind);
	return profile;
}

struct heap_profile *heap_profile_of(const struct victim *victim, const char *kind)
{
	char path[PATH_MAX];

	return heap_profile_read(heap_profile_path(victim, 0, kind, path), kind);
}

void heap_profile_free(struct heap_profile *profile)
{
	profile_free(profile->decoded);
	free(profile);
}

static int64_t value_of(const Perftools__Profiles__Sample *sample, int index)
{
	return index < 0 ? 0 : sample->value[index];
}

struct heap_sums heap_profile_with(const struct heap_profile *profile,
				   const char *function)
{
	const Perftools__Profiles__Profile *message = profile->decoded->message;
	struct heap_sums sums = {0};

	for (size_t i = 0; i < message->n_sample; i++) {
		const Perftools__Profiles__Sample *sample = message->sample[i];

		if (function != NULL &&
		    !profile_sample_has(profile->decoded, sample, function))
			continue;
		sums.alloc_objects += value_of(sample, profile->alloc_objects);
		sums.alloc_bytes += value_of(sample, profile->alloc_space);
		sums.inuse_objects += value_of(sample, profile->inuse_objects);
		sums.inuse_bytes += value_of(sample, profile->inuse_space);
		sums.samples++;
	}
	return sums;
}

void heap_profile_assert_site(const struct heap_profile *profile, const char *function,
			      const struct heap_sums *expected)
{
	struct heap_sums sums = heap_profile_with(profile, function);

	if (sums.alloc_objects == expected->alloc_objects &&
	    sums.alloc_bytes == expected->alloc_bytes &&
	    sums.inuse_objects == expected->inuse_objects &&
	    sums.inuse_bytes == expected->inuse_bytes)
		return;
	heap_profile_show(profile);
	ck_abort_msg(
		"%s: %lld blocks, %lld bytes, of which %lld and %lld in use; should be "
		"%lld, %lld, %lld and %lld",
		function, (long long)sums.alloc_objects, (long long)sums.alloc_bytes,
		(long long)sums.inuse_objects, (long long)sums.inuse_bytes,
		(long long)expected->alloc_objects, (long long)expected->alloc_bytes,
		(long long)expected->inuse_objects, (long long)expected->inuse_bytes);
}

int64_t heap_profile_column(const struct heap_profile *profile, const char *function,
			    const char *type)
{
	const Perftools__Profiles__Profile *message = profile->decoded->message;
	int index = profile_value_index(profile->decoded, type);
	int64_t sum = 0;

	ck_assert_msg(index >= 0, "no column %s", type);
	for (size_t i = 0; i < message->n_sample; i++)
		if (profile_sample_has(profile->decoded, message->sample[i], function))
			sum += message->sample[i]->value[index];
	return sum;
}

struct heap_sums heap_profile_total(const struct heap_profile *profile)
{
	return heap_profile_with(profile, NULL);
}

const char *heap_profile_comment(const struct heap_profile *profile, const char *begin)
{
	const char *comment;

	for (size_t i = 0; (comment = profile_comment(profile->decoded, i)) != NULL; i++)
		if (strncmp(comment, begin, strlen(begin)) == 0)
			return comment;
	return NULL;
}

double heap_profile_told(const struct heap_profile *profile, const char *before)
{
	const char *comment, *at, *number;
	double value;
	char *end;

	for (size_t i = 0; (comment = profile_comment(profile->decoded, i)) != NULL;
	     i++) {
		at = strstr(comment, before);
		if (at == NULL)
			continue;
		number = at + strlen(before);
		value = strtod(number, &end);
		if (end != number)
			return value;
	}
	heap_profile_show(profile);
	ck_abort_msg("no comment tells a number after \"%s\"", before);
	return 0;
}

double heap_profile_loss(const struct heap_profile *profile, const char *part)
{
	const char *comment;

	for (size_t i = 0; (comment = profile_comment(profile->decoded, i)) != NULL; i++)
		if (strncmp(comment, "loss: ", 6) == 0 && strstr(comment, part) != NULL)
			return strtod(comment + 6, NULL);
	return 0;
}

struct heap_account heap_profile_account(const struct heap_profile *profile)
{
	const char *estimate = heap_profile_comment(profile, "estimate: ");
	struct heap_account account = {
		.bytes = heap_profile_told(profile, "exact: "),
		.allocations = heap_profile_told(profile, " bytes in "),
		.frees = heap_profile_told(profile, " allocations, "),
	};

	/* Nothing was sampled. */
	if (estimate == NULL || strncmp(estimate, "estimate: none", 14) == 0)
		return account;
	account.estimate_bytes = heap_profile_told(profile, "estimate: ");
	if (strstr(estimate, "its standard error is ") != NULL)
		account.standard_error_bytes =
			heap_profile_told(profile, "its standard error is ");
	return account;
}

void heap_profile_show(const struct heap_profile *profile)
{
	const char *comment;

	for (size_t i = 0; (comment = profile_comment(profile->decoded, i)) != NULL; i++)
		printf("comment: %s\n", comment);
}
