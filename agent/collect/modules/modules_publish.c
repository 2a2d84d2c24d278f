/*
 * Snapshots: what a scan comes to, published for walks on any thread, and what was
 * replaced, kept until no walk uses it. Context: collector (one thread). Invariant: a
 * module that may go is believed only while everybody who could unload it would have
 * found it in a snapshot, and left a mark on it.
 */
#include "modules_state.h"

#include "sp_heap.h"

#include <errno.h>
#include <string.h>

struct sp_modules_retired {
	struct sp_modules_retired *next;
	struct sp_unwind_snapshot *snapshot;
	struct sp_tracked *tracked;
};

/*
 * A module that no snapshot had could be closed, and another one opened in its place,
 * without anybody's noticing. It is published with a mark to come, which it gets when
 * that has not happened.
 */
static bool wants_confirmation(const struct sp_found *found)
{
	return !found->is_permanent && !found->known->is_watched &&
	       found->loader.dlfo_link_map;
}

/* What may differ from one scan to the next though the module is the same. */
static void update_module(struct sp_unwind_module *module, const struct sp_found *found,
			  uint64_t closes)
{
	uint64_t mark_seen = found->known->mark_before + wants_confirmation(found);

	module->text_start = found->image.text_start;
	module->text_end = found->text_end;
	module->is_text_readable = found->is_text_readable;
	module->link_map = found->loader.dlfo_link_map;
	module->loader_start = (uint64_t)(uintptr_t)found->loader.dlfo_map_start;
	module->loader_end = (uint64_t)(uintptr_t)found->loader.dlfo_map_end;
	module->loader_eh_frame = (uint64_t)(uintptr_t)found->loader.dlfo_eh_frame;
	if (module->is_permanent)
		return;
	if (!found->known->is_watched || module->mark_seen != mark_seen)
		module->closes = closes;
	module->mark_seen = mark_seen;
}

/* The snapshot that the last scan comes to, or NULL. */
static struct sp_unwind_snapshot *build_snapshot(const struct sp_modules *modules)
{
	uint32_t count = 0;
	size_t modules_bytes, code_bytes;
	struct sp_unwind_snapshot *snapshot;

	for (uint32_t i = 0; i < modules->found_count; i++)
		count += modules->found[i].known != NULL;
	modules_bytes = count * sizeof(snapshot->modules[0]);
	code_bytes = modules->code_count * sizeof(snapshot->code[0]);
	snapshot = sp_heap_zalloc(sizeof(*snapshot) + modules_bytes + code_bytes);
	if (!snapshot)
		return NULL;
	/* Objects were found in the order of their addresses. */
	for (uint32_t i = 0; i < modules->found_count; i++) {
		const struct sp_found *found = &modules->found[i];

		if (!found->known)
			continue;
		update_module(&found->known->module, found, modules->closes);
		snapshot->modules[snapshot->count++] = found->known->module;
	}
	snapshot->code = (const struct sp_unwind_range *)(snapshot->modules + count);
	snapshot->code_count = modules->code_count;
	memcpy(snapshot->modules + count, modules->code, code_bytes);
	return snapshot;
}

static bool is_same_snapshot(const struct sp_unwind_snapshot *a,
			     const struct sp_unwind_snapshot *b)
{
	return a->count == b->count && a->code_count == b->code_count &&
	       memcmp(a->modules, b->modules, a->count * sizeof(a->modules[0])) == 0 &&
	       memcmp(a->code, b->code, a->code_count * sizeof(a->code[0])) == 0;
}

static struct sp_modules_retired *retire(struct sp_modules *modules)
{
	struct sp_modules_retired *retired = sp_heap_zalloc(sizeof(*retired));

	if (retired) {
		retired->next = modules->retired;
		modules->retired = retired;
	}
	return retired;
}

/* Takes the modules that are gone off the list. Those that cannot be put on the list of
 * retired things, for want of memory, stay. */
static void retire_gone(struct sp_modules *modules)
{
	struct sp_tracked **link = &modules->tracked;

	while (*link) {
		struct sp_tracked *tracked = *link;
		struct sp_modules_retired *retired;

		if (tracked->is_seen) {
			link = &tracked->next;
			continue;
		}
		retired = retire(modules);
		if (!retired)
			return;
		retired->tracked = tracked;
		*link = tracked->next;
	}
}

/*
 * The snapshot is published. Whoever unloads something counts a close and then looks
 * into the snapshot; we have published and look for closes now: one of us sees the
 * other. False: somebody has closed something, new modules are not confirmed.
 */
static bool confirm(struct sp_modules *modules)
{
	bool is_quiet = atomic_load(&sp_unwind_closes) == modules->closes;
	bool is_complete = true;

	for (struct sp_tracked *at = modules->tracked; at; at = at->next)
		at->is_watched = at->is_watched && at->is_seen;
	for (uint32_t i = 0; i < modules->found_count; i++) {
		const struct sp_found *found = &modules->found[i];
		struct sp_tracked *known = found->known;

		if (!known)
			continue;
		if (wants_confirmation(found)) {
			uint64_t mark = known->mark_before;

			/* Unless it has been found gone by now. */
			if (is_quiet)
				atomic_compare_exchange_strong(&known->mark, &mark,
							       mark + 1);
			else
				is_complete = false;
		}
		known->is_watched = found->loader.dlfo_link_map != NULL;
	}
	return is_complete;
}

int sp_modules_publish(struct sp_modules *modules)
{
	static uint64_t generation; /* goes on in a fork child */
	struct sp_unwind_snapshot *snapshot = build_snapshot(modules);
	struct sp_modules_retired *retired = NULL;
	bool is_complete;

	if (!snapshot)
		return -ENOMEM;
	if (modules->published && is_same_snapshot(snapshot, modules->published)) {
		sp_heap_free(snapshot);
		return 0;
	}
	if (modules->published) {
		retired = retire(modules);
		if (!retired) {
			sp_heap_free(snapshot);
			return -ENOMEM;
		}
		retired->snapshot = modules->published;
	}
	snapshot->generation = ++generation;
	modules->published = snapshot;
	/* Sequentially consistent: a walk that begins after the caller looked for those
	 * at work (sp_modules_await_walks) sees this snapshot; and see confirm(). */
	atomic_store(&sp_unwind_snapshot, snapshot);
	is_complete = confirm(modules);
	retire_gone(modules);
	return is_complete ? 0 : -EAGAIN;
}

bool sp_modules_has_retired(const struct sp_modules *modules)
{
	return modules->retired || modules->waiting;
}

bool sp_modules_await_walks(struct sp_modules *modules)
{
	if (modules->waiting)
		return false;
	modules->waiting = modules->retired;
	modules->retired = NULL;
	return modules->waiting != NULL;
}

void sp_modules_reclaim(struct sp_modules *modules)
{
	while (modules->waiting) {
		struct sp_modules_retired *retired = modules->waiting;

		modules->waiting = retired->next;
		if (retired->tracked)
			sp_tracked_free(retired->tracked);
		sp_heap_free(retired->snapshot);
		sp_heap_free(retired);
	}
}
