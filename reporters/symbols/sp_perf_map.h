/*
 * Names of JIT code, which runtimes append to /tmp/perf-PID.map as lines of
 * "start size name" (node --perf-basic-prof, Java agents, LuaJIT, .NET, ...). The
 * file may be large and growing; in memory are only the addresses and where
 * the names stand in the file.
 *
 * Context of everything here: collector.
 */
#ifndef SP_PERF_MAP_H
#define SP_PERF_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory for addresses; lines beyond it are not seen. */
#define SP_PERF_MAP_BYTES_MAX ((size_t)64 << 20)
#define SP_PERF_MAP_NAME_BYTES ((size_t)1024)

struct sp_perf_map;

/* directory: "/tmp" but for tests. NULL when memory is short. */
struct sp_perf_map *sp_perf_map_create(const char *directory);
void sp_perf_map_destroy(struct sp_perf_map *map);

/*
 * Name of the code at address in process pid, the latest written where several
 * lines cover it. Writes it, ended by NUL, and returns true. A file that belongs
 * to neither root nor us, or is no regular file, is not read. Looks for new lines
 * at most every SP_PERF_MAP_REFRESH_NS.
 */
bool sp_perf_map_find(struct sp_perf_map *map, int pid, uint64_t address,
		      char name[SP_PERF_MAP_NAME_BYTES]);

#define SP_PERF_MAP_REFRESH_NS UINT64_C(200000000)

#endif
