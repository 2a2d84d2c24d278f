/*
 * The files that a victim leaves: listed by pattern, waited for when a process
 * outlives the one that the test started. And those that it waits for.
 */
#include "victim.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void victim_list(const char *folder, const char *pattern, struct victim_files *files)
{
	char path[PATH_MAX];
	glob_t found;

	snprintf(path, sizeof(path), "%s/%s", folder, pattern);
	files->count = 0;
	files->paths = NULL;
	if (glob(path, 0, NULL, &found) != 0)
		return;
	files->paths = calloc(found.gl_pathc, sizeof(*files->paths));
	ck_assert_ptr_nonnull(files->paths);
	for (size_t i = 0; i < found.gl_pathc; i++)
		files->paths[files->count++] = strdup(found.gl_pathv[i]);
	globfree(&found);
}

void victim_files_free(struct victim_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		free(files->paths[i]);
	free(files->paths);
	files->count = 0;
	files->paths = NULL;
}

size_t victim_count(const char *folder, const char *pattern)
{
	struct victim_files files;
	size_t count;

	victim_list(folder, pattern, &files);
	count = files.count;
	victim_files_free(&files);
	return count;
}

static bool wait_for_count(const char *folder, const char *pattern, size_t least,
			   size_t most, unsigned timeout_s)
{
	for (unsigned tries = 0;; tries++) {
		size_t count = victim_count(folder, pattern);

		if (count >= least && count <= most)
			return true;
		if (tries == timeout_s * 50)
			return false;
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
}

bool victim_wait_for_files(const char *folder, const char *pattern, size_t count,
			   unsigned timeout_s)
{
	return wait_for_count(folder, pattern, count, SIZE_MAX, timeout_s);
}

bool victim_wait_for_none(const char *folder, const char *pattern, unsigned timeout_s)
{
	return wait_for_count(folder, pattern, 0, 0, timeout_s);
}

void victim_make_file(const struct victim *victim, const char *name)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", victim->folder, name);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fclose(file);
}
