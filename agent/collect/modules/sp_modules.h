/*
 * Which objects are loaded, told without the dynamic loader's lock: the reporter
 * thread reads /proc/self/maps and the ELF headers, gives every new module an
 * id that is never used again, writes it to the recording and publishes a
 * snapshot for the unwinder. Old snapshots and the private copies of unwind
 * data are released once no handler can be reading them.
 *
 * Context of everything here: collector (one thread).
 */
#ifndef SP_MODULES_H
#define SP_MODULES_H

#include <stdbool.h>
#include <stdint.h>

#define SP_BUILD_ID_BYTES_MAX 32
#define SP_MODULE_PATH_BYTES 256

/* What the recording keeps of a module; one for each executable mapping is not
 * needed: text is the span of the executable mappings. */
struct sp_module_info {
	/* Frame offset = address - base, which is the ELF virtual address: base is the
	 * load bias, 0 for a program linked to a fixed address. */
	uint64_t base;
	uint64_t text_start; /* first executable mapping, as pprof's Mapping wants it */
	uint64_t text_end;
	uint64_t text_file_offset;
	uint8_t build_id[SP_BUILD_ID_BYTES_MAX];
	uint32_t build_id_bytes;
	uint64_t fingerprint; /* sp_elf_fingerprint() */
	bool is_main;	      /* the program itself: mapping[0] in pprof */
	bool is_agent;	      /* ourselves, but where we are part of the program */
	const char *path;
};

/*
 * Where a new module is announced (the recording's writer). Returns its id, or 0
 * when the table is full: its frames are then written as plain addresses.
 */
typedef uint16_t (*sp_modules_announce)(void *context, const struct sp_module_info *info);

/*
 * Told of a module that the loader has finished loading: where it starts and the
 * struct link_map that the loader has of it. It may be unloaded at any moment. False:
 * to be told again after the next scan.
 */
typedef bool (*sp_modules_loaded)(uint64_t start, const void *link_map);

struct sp_modules;

/* NULL when memory is short. */
struct sp_modules *sp_modules_create(sp_modules_announce announce, void *context);

/* From the next scan on; once for each module that is not permanent. */
void sp_modules_set_loaded(struct sp_modules *modules, sp_modules_loaded loaded);

/*
 * Scans again and publishes a new sp_unwind_snapshot if anything changed.
 * Modules of the first scan that the loader lists as start-up objects are
 * permanent. 0, or -errno when /proc/self/maps cannot be read (the old snapshot
 * then stays).
 */
int sp_modules_refresh(struct sp_modules *modules);

/* Modules that there is no room to follow: how many more there were at the last refresh
 * than at any at which this was asked. */
uint32_t sp_modules_take_left_out(struct sp_modules *modules);

/*
 * What earlier refreshes replaced waits from here on for the walks that may be using it.
 * False: something waits already, what was replaced since has to wait for that, or there
 * is nothing.
 */
bool sp_modules_await_walks(struct sp_modules *modules);

/* Releases what waits: no walk is at work that was when it began to. */
void sp_modules_reclaim(struct sp_modules *modules);

/* Context: collector. Is there anything to release? */
bool sp_modules_has_retired(const struct sp_modules *modules);

/*
 * Ends the tracking: no snapshot is published any more and all memory is released.
 * No walk may be running. Whoever begins anew with ids that were given before
 * also calls sp_unwind_cache_reset(). modules may be NULL.
 */
void sp_modules_destroy(struct sp_modules *modules);

#endif
