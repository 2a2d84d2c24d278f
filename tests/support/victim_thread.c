/*
 * The agent's own thread, as it is seen from outside: by its name.
 */
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_named(const char *comm_path, const char *name)
{
	char line[64] = "";
	FILE *file = fopen(comm_path, "r");

	if (file == NULL)
		return false;
	if (fgets(line, sizeof(line), file) == NULL)
		*line = '\0';
	fclose(file);
	line[strcspn(line, "\n")] = '\0';
	return strcmp(line, name) == 0;
}

int victim_own_thread(const struct victim *victim)
{
	char folder[64];

	snprintf(folder, sizeof(folder), "/proc/%d/task", victim->pid);
	for (int tries = 0; tries < 5000; tries++) {
		struct victim_files files;
		int tid = 0;

		victim_list(folder, "*/comm", &files);
		for (size_t i = 0; i < files.count; i++)
			if (is_named(files.paths[i], "spanprof"))
				tid = atoi(files.paths[i] + strlen(folder) + 1);
		victim_files_free(&files);
		if (tid)
			return tid;
		usleep(1000);
	}
	ck_abort_msg("no thread of the agent's");
	return 0;
}
