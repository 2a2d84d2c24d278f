/*
 * Start-up objects, told from those loaded later without asking the loader: the
 * closure of DT_NEEDED from the program on. Names are compared by hash. Context:
 * collector.
 */
#include "modules_startup.h"

#include "sp_guarded.h"
#include "sp_heap.h"
#include "sp_pages.h"

#include <elf.h>
#include <string.h>

#define DYNAMIC_ENTRIES_MAX 256
#define NAME_BYTES_MAX 256
#define NEEDED_MAX 128
#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

struct names {
	uint64_t file_name, so_name; /* hashes; 0: none */
	uint32_t needed_count;
	uint64_t needed[NEEDED_MAX + 1];
};

static uint64_t hash_name(const char *name, size_t name_bytes)
{
	uint64_t hash = FNV_START;

	for (size_t i = 0; i < name_bytes; i++)
		hash = (hash ^ (uint8_t)name[i]) * FNV_PRIME;
	return hash;
}

/* The hash of a string that starts at address, 0 when it cannot be read. */
static uint64_t hash_at(uint64_t address)
{
	size_t page_bytes = SP_PAGE_BYTES - address % SP_PAGE_BYTES;
	char name[NAME_BYTES_MAX];

	/* What follows the strings may not be readable. */
	if (sp_guarded_read(address, name, sizeof(name)))
		return hash_name(name, strnlen(name, sizeof(name)));
	if (page_bytes < sizeof(name) && sp_guarded_read(address, name, page_bytes))
		return hash_name(name, strnlen(name, page_bytes));
	return 0;
}

/* Turns addresses of strings into their hashes. */
static void hash_all(uint64_t *names, uint32_t count)
{
	char strings[SP_GUARDED_PIECES_MAX][NAME_BYTES_MAX];

	if (count <= SP_GUARDED_PIECES_MAX &&
	    sp_guarded_read_pieces(names, count, strings, NAME_BYTES_MAX)) {
		for (uint32_t i = 0; i < count; i++)
			names[i] = hash_name(strings[i],
					     strnlen(strings[i], NAME_BYTES_MAX));
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		names[i] = hash_at(names[i]);
}

static void read_names(const struct sp_startup_object *object, struct names *names)
{
	const struct sp_elf_image *image = object->image;
	const char *slash = strrchr(object->path, '/');
	const char *file_name = slash ? slash + 1 : object->path;
	uint64_t strings = 0, so_name = 0,
		 count = image->dynamic_bytes / sizeof(Elf64_Dyn);
	Elf64_Dyn dynamic[DYNAMIC_ENTRIES_MAX];

	names->file_name = hash_name(file_name, strlen(file_name));
	names->so_name = 0;
	names->needed_count = 0;
	if (count > DYNAMIC_ENTRIES_MAX)
		count = DYNAMIC_ENTRIES_MAX;
	if (count == 0 || !sp_guarded_read(image->dynamic_address, dynamic,
					   (size_t)count * sizeof(dynamic[0])))
		return;
	for (uint64_t i = 0; i < count && dynamic[i].d_tag != DT_NULL; i++) {
		if (dynamic[i].d_tag == DT_STRTAB)
			strings = dynamic[i].d_un.d_ptr;
	}
	/* The loader has put addresses there, except in the vdso. */
	if (strings < image->start)
		strings += image->base;
	for (uint64_t i = 0; i < count && dynamic[i].d_tag != DT_NULL; i++) {
		uint64_t name = strings + dynamic[i].d_un.d_val;

		if (dynamic[i].d_tag == DT_SONAME)
			so_name = name;
		else if (dynamic[i].d_tag == DT_NEEDED &&
			 names->needed_count < NEEDED_MAX)
			names->needed[names->needed_count++] = name;
	}
	/* One more at the end, for the same system call. */
	names->needed[names->needed_count] = so_name;
	hash_all(names->needed, names->needed_count + (so_name != 0));
	names->so_name = so_name ? names->needed[names->needed_count] : 0;
}

/* The only object of that name, or count. */
static uint32_t find_name(const struct names *names, uint32_t count, uint64_t name)
{
	uint32_t found = count;

	for (uint32_t i = 0; i < count; i++) {
		if (names[i].file_name != name && names[i].so_name != name)
			continue;
		if (found != count)
			return count;
		found = i;
	}
	return found;
}

/* Follows object's needs; the list of those to follow grows at its end. */
static uint32_t mark_needed(struct sp_startup_object *objects, const struct names *names,
			    uint32_t count, uint32_t object, uint32_t *list,
			    uint32_t listed)
{
	for (uint32_t i = 0; i < names[object].needed_count; i++) {
		uint32_t needed = find_name(names, count, names[object].needed[i]);

		if (needed == count || objects[needed].is_startup)
			continue;
		objects[needed].is_startup = true;
		list[listed++] = needed;
	}
	return listed;
}

void sp_startup_mark(struct sp_startup_object *objects, uint32_t count)
{
	struct names *names = sp_heap_alloc(count * sizeof(*names));
	uint32_t *list = sp_heap_alloc(count * sizeof(*list));
	uint32_t listed = 0;

	for (uint32_t i = 0; i < count; i++) {
		objects[i].is_startup = objects[i].is_root;
		if (names)
			read_names(&objects[i], &names[i]);
		if (list && objects[i].is_root)
			list[listed++] = i;
	}
	/* Every object is listed once at most: at every moment there is room. */
	for (uint32_t i = 0; names && list && i < listed; i++)
		listed = mark_needed(objects, names, count, list[i], list, listed);
	sp_heap_free(names);
	sp_heap_free(list);
}
