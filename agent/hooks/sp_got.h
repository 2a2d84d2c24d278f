/*
 * Replaces functions in the modules that call them: a module reaches a function of
 * another through slots that the loader fills (the global offset table), and there
 * another address can be put. For functions that we must not export, as a program that
 * finds mallocx() would believe in an allocator that is not there; and for those that we
 * stand in front of, where we need not.
 *
 * Slots are changed by single stores, so that other threads call the one function or
 * the other. What the loader has made read-only becomes writable for the moment of a
 * store.
 */
#ifndef SP_GOT_H
#define SP_GOT_H

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

/* A slot, and the module it is in, by the loader's record; NULL: one that stays loaded.
 */
struct sp_got_slot {
	uint64_t address;
	const struct link_map *link_map;
};

/* Names have at most 255 characters here; longer ones are not asked for. */
struct sp_got_patch {
	/* Is a function of this name one to replace? Asked for every import. */
	bool (*is_wanted)(const char *name, void *context);
	/*
	 * What a slot of that name is to hold. target is what it leads to now: a
	 * program may have several functions of a name, and a slot may have been
	 * changed before, by us or by others. 0, or target, leaves it.
	 */
	uint64_t (*replacement_for)(const char *name, uint64_t target, void *context);
	/*
	 * The same for a slot that waits for its first call, nobody knows of which
	 * function: stub is code that finds it, stores it in the slot and calls it. A
	 * replacement that calls stub is called once; sp_got_replace() then. NULL, or 0:
	 * such slots are left and counted; stub: left for good.
	 */
	uint64_t (*replacement_for_waiting)(const char *name, uint64_t stub,
					    const struct sp_got_slot *slot,
					    void *context);
	void *context;
	/* What wanted slots lead to lies in between, and slots that wait for their first
	 * call are not wanted: most need not be looked at any closer. 0: anywhere. */
	uint64_t target_first, target_last;
	/* Modules to leave alone, ended by NULL; may be NULL itself. We are skipped
	 * always. */
	const struct link_map *const *skipped;
};

struct sp_got_result {
	uint32_t replaced; /* slots */
	uint32_t failed;   /* slots that could not be written, modules not read */
	uint32_t unbound;  /* slots of wanted names that lead nowhere yet */
};

/*
 * Context: init, hook. Patches every module that is loaded. Slots that the loader fills
 * at their first call are taken to lead where it would lead them, but for modules that
 * came after the start-up, of which that is not known (sp_got_patch_module()). Adds to
 * result.
 */
void sp_got_patch_all(const struct sp_got_patch *patch, struct sp_got_result *result);

/* Context: init, hook. The same for one of the modules of the start-up. */
void sp_got_patch_object(const struct link_map *object, const struct sp_got_patch *patch,
			 struct sp_got_result *result);

/*
 * Context: collector. Patches a module that was loaded later and may be unloaded at any
 * moment, which makes this fail and does no harm. start is where the module begins;
 * link_map is what the loader says is there (_dl_find_object, once it knows the module
 * the slots are filled). Nobody knows where a slot that waits for its first call
 * will lead, as the module may look names up in other modules first: these are asked
 * for by replacement_for_waiting. Function pointers in variables that the program may
 * change are left.
 *
 * Adds to result. 0, also when there was nothing to do, or -errno when the module could
 * not be read to its end. To be called again it is harmless.
 */
int sp_got_patch_module(uint64_t start, const struct link_map *link_map,
			const struct sp_got_patch *patch, struct sp_got_result *result);

/*
 * Context: hook. A slot that the loader fills at its first call: what it leads to, 0 when
 * its module is gone; and stores value there, 0 or -errno.
 */
uint64_t sp_got_read(const struct sp_got_slot *slot);
int sp_got_replace(const struct sp_got_slot *slot, uint64_t value);

/*
 * Context: collector, one thread. Has the loader finished loading modules, or unloaded
 * some, since the last call? The first call compares with the start-up.
 */
bool sp_got_have_modules_changed(void);

#endif
