/* Context: tests only. */
#include "victim_timer.h"

#include <stdio.h>

struct victim_timer victim_own_timer(const struct victim *victim)
{
	struct victim_timer told;
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/own_timer", victim->folder);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fread(&told, sizeof(told), 1, file), 1);
	fclose(file);
	return told;
}
