/*
 * Follows what is loaded: compares the mappings with the modules known so far and
 * announces new ones. Context: collector (one thread); no lock of the loader. A module
 * keeps its id exactly as long as the same object stays at the same place.
 */
#include "modules_startup.h"
#include "modules_state.h"
#include "sp_compiler.h"
#include "sp_heap.h"
#include "sp_process_identity.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>

#pragma weak _dl_find_object

#define MODULES_MAX 16384U
#define CODE_RANGES_MAX 16384U
/* The objects read anew in one scan may change under it; then it starts over. So does
 * all of it when something was closed before new modules could be published. */
#define SCANS_MAX 3
#define ROUNDS_MAX 2

static void ask_loader(uint64_t address, struct dl_find_object *loader)
{
	if (!_dl_find_object || _dl_find_object((void *)(uintptr_t)address, loader) != 0)
		*loader = (struct dl_find_object){.dlfo_link_map = NULL};
}

static bool is_same_loader(const struct dl_find_object *a, const struct dl_find_object *b)
{
	return a->dlfo_link_map == b->dlfo_link_map &&
	       a->dlfo_map_start == b->dlfo_map_start &&
	       a->dlfo_map_end == b->dlfo_map_end && a->dlfo_eh_frame == b->dlfo_eh_frame;
}

/*
 * Looks among the mappings that follow the first of an image for its text, which
 * must be mapped where the headers say: a file that is merely read through mmap()
 * has headers too. Text may have been moved to other memory (large pages).
 */
static bool find_text(const struct sp_maps *maps, uint32_t first, struct sp_found *found)
{
	const struct sp_elf_image *image = &found->image;
	const struct sp_map *at = &maps->maps[first];
	bool is_found = false;

	found->text_end = 0;
	for (uint32_t i = first; i < maps->count && maps->maps[i].start < image->end;
	     i++) {
		const struct sp_map *map = &maps->maps[i];

		if (!map->is_executable)
			continue;
		if (map->start <= image->text_start && map->end > image->text_start) {
			is_found = map->inode == 0 ||
				   (map->inode == at->inode && map->device == at->device);
			found->is_text_readable = map->is_readable;
		}
		if (map->end <= image->end)
			found->text_end = map->end;
	}
	return is_found && found->text_end > image->text_start;
}

static bool is_candidate(const struct sp_maps *maps, const struct sp_map *map)
{
	return map->is_readable && map->file_offset == 0 &&
	       (map->inode != 0 || strcmp(sp_maps_path(maps, map), "[vdso]") == 0);
}

/* What stays where it is need not be read again. */
static bool recall_image(const struct sp_modules *modules, const struct sp_map *map,
			 struct sp_elf_image *image)
{
	for (const struct sp_tracked *at = modules->tracked; at; at = at->next) {
		if (at->module.start != map->start)
			continue;
		if (!at->module.is_permanent || at->device != map->device ||
		    at->inode != map->inode)
			return false;
		*image = at->image;
		return true;
	}
	return false;
}

static struct sp_tracked *find_tracked(const struct sp_modules *modules,
				       const struct sp_found *found)
{
	for (struct sp_tracked *at = modules->tracked; at; at = at->next) {
		if (at->module.start == found->image.start &&
		    at->module.end == found->image.end &&
		    at->module.base == found->image.base &&
		    at->device == found->map->device && at->inode == found->map->inode &&
		    at->image.fingerprint == found->image.fingerprint)
			return at;
	}
	return NULL;
}

static struct sp_found *add_found(struct sp_modules *modules)
{
	uint32_t wanted = modules->found_capacity ? modules->found_capacity * 2 : 64;
	struct sp_found *bigger;

	if (modules->found_count < modules->found_capacity)
		return &modules->found[modules->found_count++];
	if (wanted > MODULES_MAX)
		return NULL;
	bigger = sp_heap_realloc(modules->found, wanted * sizeof(*bigger));
	if (!bigger)
		return NULL;
	modules->found = bigger;
	modules->found_capacity = wanted;
	return &modules->found[modules->found_count++];
}

static void add_code_range(struct sp_modules *modules, const struct sp_map *map)
{
	struct sp_unwind_range *last =
		modules->code_count ? &modules->code[modules->code_count - 1] : NULL;

	if (!map->is_executable || !map->is_readable)
		return;
	if (last && last->end == map->start)
		last->end = map->end;
	else if (modules->code_count < CODE_RANGES_MAX)
		modules->code[modules->code_count++] =
			(struct sp_unwind_range){map->start, map->end};
}

/* Room for as many code ranges as there are mappings. */
static bool reserve_code_ranges(struct sp_modules *modules)
{
	uint32_t wanted = modules->maps.count < CODE_RANGES_MAX ? modules->maps.count
								: CODE_RANGES_MAX;

	sp_heap_free(modules->code);
	modules->code = sp_heap_alloc((wanted + 1) * sizeof(*modules->code));
	modules->code_count = 0;
	return modules->code != NULL;
}

/* Fills found and code from the mappings. */
static int find_objects(struct sp_modules *modules)
{
	const struct sp_maps *maps = &modules->maps;
	uint64_t covered = 0;

	modules->found_count = 0;
	modules->left_out_count = 0;
	if (!reserve_code_ranges(modules))
		return -ENOMEM;
	for (uint32_t i = 0; i < maps->count; i++) {
		const struct sp_map *map = &maps->maps[i];
		struct sp_found found = {.map = map};

		if (map->start < covered)
			continue;
		if (is_candidate(maps, map) &&
		    (recall_image(modules, map, &found.image) ||
		     sp_elf_read_image(map, &found.image)) &&
		    find_text(maps, i, &found)) {
			struct sp_found *added = add_found(modules);

			ask_loader(found.image.text_start, &found.loader);
			if (added)
				*added = found;
			else
				modules->left_out_count++;
			covered = found.image.end;
			continue;
		}
		add_code_range(modules, map);
	}
	return 0;
}

static bool holds(const struct sp_elf_image *image, uint64_t address)
{
	return address >= image->start && address < image->end;
}

static bool is_main(const struct sp_found *found)
{
	return holds(&found->image, getauxval(AT_PHDR));
}

static bool is_agent(const struct sp_found *found)
{
	/* In a test program, or the command, we are part of the program. */
	return holds(&found->image, (uint64_t)(uintptr_t)&sp_modules_refresh) &&
	       !is_main(found);
}

/* At the first scan: which of the objects found cannot be unloaded. */
static void find_permanent(struct sp_modules *modules)
{
	struct sp_startup_object *objects;
	uint64_t loader = getauxval(AT_BASE), vdso = getauxval(AT_SYSINFO_EHDR);

	objects = sp_heap_alloc((modules->found_count + 1) * sizeof(*objects));
	if (!objects)
		return;
	for (uint32_t i = 0; i < modules->found_count; i++) {
		const struct sp_found *found = &modules->found[i];

		objects[i] = (struct sp_startup_object){
			.image = &found->image,
			.path = sp_maps_path(&modules->maps, found->map),
			.is_root = is_main(found) || is_agent(found) ||
				   (loader && holds(&found->image, loader)) ||
				   (vdso && holds(&found->image, vdso)),
		};
	}
	sp_startup_mark(objects, modules->found_count);
	for (uint32_t i = 0; i < modules->found_count; i++)
		modules->found[i].is_permanent = objects[i].is_startup;
	sp_heap_free(objects);
}

static struct sp_tracked *create_tracked(const struct sp_modules *modules,
					 const struct sp_found *found)
{
	struct sp_tracked *tracked = sp_heap_zalloc(sizeof(*tracked));
	int err;

	if (!tracked)
		return NULL;
	tracked->device = found->map->device;
	tracked->inode = found->map->inode;
	tracked->image = found->image;
	tracked->module.start = found->image.start;
	tracked->module.end = found->image.end;
	tracked->module.base = found->image.base;
	tracked->module.text_start = found->image.text_start;
	tracked->module.text_end = found->text_end;
	tracked->module.is_permanent = found->is_permanent;
	tracked->module.is_agent = is_agent(found);
	tracked->module.mark = &tracked->mark;
	err = sp_frames_prepare(&found->image, sp_maps_path(&modules->maps, found->map),
				&tracked->module, &tracked->areas);
	/* What the loader has finished and cannot be read is damaged: its frames have
	 * names at least. */
	if (err && (err == -ENOMEM || !found->loader.dlfo_link_map)) {
		sp_heap_free(tracked);
		return NULL;
	}
	return tracked;
}

void sp_tracked_free(struct sp_tracked *tracked)
{
	sp_frames_release(&tracked->areas);
	sp_heap_free(tracked);
}

static void announce(struct sp_modules *modules, const struct sp_found *found,
		     struct sp_tracked *tracked)
{
	struct sp_module_info info = {
		.base = found->image.base,
		.text_start = found->image.text_start,
		.text_end = found->text_end,
		.text_file_offset = found->image.text_file_offset,
		.build_id_bytes = found->image.build_id_bytes,
		.fingerprint = found->image.fingerprint,
		.is_main = is_main(found),
		.is_agent = is_agent(found),
		.path = sp_maps_path(&modules->maps, found->map),
	};

	memcpy(info.build_id, found->image.build_id, sizeof(info.build_id));
	tracked->module.id = modules->announce(modules->context, &info);
}

/*
 * Reads one object that is not known yet. While its headers, its unwind data and
 * what the loader says of it were read one after the other, another object may
 * have taken its place: then nothing is kept. True when it may be tried again.
 */
static bool read_new(struct sp_modules *modules, struct sp_found *found,
		     struct sp_tracked **link)
{
	struct sp_tracked *tracked = create_tracked(modules, found);
	struct dl_find_object loader;
	struct sp_elf_image image;

	if (!tracked)
		return !sp_elf_read_image(found->map, &image);
	ask_loader(found->image.text_start, &loader);
	/* Nothing takes the place of what cannot be unloaded. */
	if (!found->is_permanent && (!is_same_loader(&loader, &found->loader) ||
				     !sp_elf_read_image(found->map, &image) ||
				     image.fingerprint != found->image.fingerprint)) {
		sp_tracked_free(tracked);
		return true;
	}
	announce(modules, found, tracked);
	tracked->is_seen = true;
	tracked->next = *link;
	*link = tracked;
	found->known = tracked;
	return false;
}

/* Where in the list, kept by address, a module that starts at start belongs. */
static struct sp_tracked **find_place(struct sp_modules *modules, uint64_t start)
{
	struct sp_tracked **link = &modules->tracked;

	while (*link && (*link)->module.start < start)
		link = &(*link)->next;
	return link;
}

/* One scan. -EAGAIN when an object changed while it was read. */
static int scan(struct sp_modules *modules)
{
	bool is_changing = false;
	int err;

	/* What is marked, and then what is closed, from here on is noticed. */
	for (struct sp_tracked *at = modules->tracked; at; at = at->next) {
		at->is_seen = false;
		at->mark_before = atomic_load(&at->mark);
	}
	modules->closes = atomic_load(&sp_unwind_closes);
	err = sp_maps_read(&modules->maps, sp_process_open("maps"));
	if (!err)
		err = find_objects(modules);
	if (err)
		return err;
	if (!modules->is_scanned)
		find_permanent(modules);
	for (uint32_t i = 0; i < modules->found_count; i++) {
		struct sp_found *found = &modules->found[i];

		found->known = find_tracked(modules, found);
		if (found->known)
			found->known->is_seen = true;
		else if (read_new(modules, found,
				  find_place(modules, found->image.start)))
			is_changing = true;
	}
	return is_changing ? -EAGAIN : 0;
}

/* The loader lists a module after it has filled in all addresses. */
static void tell_loaded(struct sp_modules *modules)
{
	for (uint32_t i = 0; i < modules->found_count && modules->loaded; i++) {
		const struct sp_found *found = &modules->found[i];
		struct sp_tracked *known = found->known;

		if (known && !known->is_told && !known->module.is_permanent &&
		    found->loader.dlfo_link_map)
			known->is_told = modules->loaded(known->module.start,
							 found->loader.dlfo_link_map);
	}
}

/* Scans until nothing changes meanwhile, or often enough, and publishes. */
static int scan_and_publish(struct sp_modules *modules)
{
	int err = -EAGAIN;

	for (int scans = 0; scans < SCANS_MAX && err == -EAGAIN; scans++)
		err = scan(modules);
	if (err && err != -EAGAIN)
		return err;
	modules->is_scanned = true;
	tell_loaded(modules);
	return sp_modules_publish(modules);
}

int sp_modules_refresh(struct sp_modules *modules)
{
	int err = -EAGAIN;

	for (int rounds = 0; rounds < ROUNDS_MAX && err == -EAGAIN; rounds++)
		err = scan_and_publish(modules);
	/* What still changes is left to the next refresh. */
	return err == -EAGAIN ? 0 : err;
}

uint32_t sp_modules_take_left_out(struct sp_modules *modules)
{
	uint32_t before = modules->left_out_told;

	if (modules->left_out_count <= before)
		return 0;
	modules->left_out_told = modules->left_out_count;
	return modules->left_out_count - before;
}

void sp_modules_destroy(struct sp_modules *modules)
{
	if (!modules)
		return;
	if (modules->published)
		atomic_store(&sp_unwind_snapshot, NULL);
	do
		sp_modules_reclaim(modules);
	while (sp_modules_await_walks(modules));
	while (modules->tracked) {
		struct sp_tracked *tracked = modules->tracked;

		modules->tracked = tracked->next;
		sp_tracked_free(tracked);
	}
	sp_heap_free(modules->published);
	sp_heap_free(modules->found);
	sp_heap_free(modules->code);
	sp_maps_free(&modules->maps);
	sp_heap_free(modules);
}

void sp_modules_set_loaded(struct sp_modules *modules, sp_modules_loaded loaded)
{
	modules->loaded = loaded;
}

struct sp_modules *sp_modules_create(sp_modules_announce announce_module, void *context)
{
	struct sp_modules *modules = sp_heap_zalloc(sizeof(*modules));

	if (modules) {
		modules->announce = announce_module;
		modules->context = context;
	}
	return modules;
}
