/*
 * See victim_profile.h.
 */
#include "victim_profile.h"

#include <string.h>

struct profile *victim_decode(const char *path)
{
	char error[256] = "";
	struct profile *profile = profile_decode_file(path, error, sizeof(error));

	ck_assert_msg(profile != NULL, "%s: %s", path, error);
	ck_assert_msg(profile_check(profile, error, sizeof(error)), "%s: %s", path,
		      error);
	return profile;
}

struct profile *victim_read_profile(const char *folder, const char *pattern)
{
	struct victim_files files;
	struct profile *profile;

	victim_list(folder, pattern, &files);
	ck_assert_msg(files.count == 1, "%zu files %s", files.count, pattern);
	profile = victim_decode(files.paths[0]);
	victim_files_free(&files);
	return profile;
}

bool profile_has_comment(const struct profile *profile, const char *part)
{
	const char *comment;

	for (size_t i = 0; (comment = profile_comment(profile, i)) != NULL; i++)
		if (strstr(comment, part) != NULL)
			return true;
	return false;
}
