/*
 * Where the agent's code lies in the process, for programs whose handlers look at what
 * they interrupted. Without the agent there is none.
 */
#ifndef AGENT_CODE_H
#define AGENT_CODE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uintptr_t agent_low, agent_high;

/* Before any handler asks. */
static void find_agent(void)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "libspanprof.so") || !strstr(line, " r-xp "))
			continue;
		agent_low = strtoul(line, NULL, 16);
		agent_high = strtoul(strchr(line, '-') + 1, NULL, 16);
	}
	if (maps)
		fclose(maps);
}

/* Signal-safe. */
static inline bool is_agent_code(uintptr_t pc)
{
	return pc >= agent_low && pc < agent_high;
}

#endif
