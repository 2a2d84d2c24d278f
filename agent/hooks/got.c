/*
 * Walks the relocations of a module that name symbols and changes the slots whose name
 * and target are wanted. Context: hook, collector; no lock, no call into the loader
 * but _dl_find_object(), which takes none. Stores are guarded, and so are reads of
 * what may be unloaded: of a module that vanishes they fail. Its tables are read a page
 * at a time into a cache, as the kernel's help is dear and entries lie close together.
 */
#include "sp_got.h"

#include "got_image.h"
#include "sp_compiler.h"
#include "sp_guarded.h"
#include "sp_next.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#pragma weak _dl_find_object

#define CACHED_PAGES 256U
#define NAME_BYTES 256U
#define STORE_TRIES 16U
#define MODULES_MAX 16384U
#define HASH_PRIME UINT64_C(0x100000001b3)

/* Pages of the module, each in the one place that its address gives. */
struct cache {
	uint64_t addresses[CACHED_PAGES]; /* 0: none */
	unsigned char pages[CACHED_PAGES][SP_PAGE_BYTES];
};

struct walk {
	struct sp_got_image image;
	struct cache *cache;
	const struct link_map *link_map; /* NULL: the module stays loaded */
	const struct sp_got_patch *patch;
	struct sp_got_result *result;
};

/* A slot that gets the address of a symbol. */
struct import {
	uint64_t slot;
	uint32_t index, type; /* of the symbol, of the relocation */
	Elf64_Sym symbol;
	char name[NAME_BYTES];
};

static bool is_late(const struct walk *walk)
{
	return walk->link_map != NULL;
}

static bool is_in_relro(const struct sp_got_image *image, uint64_t slot)
{
	return slot >= image->relro_start && slot < image->relro_end;
}

/* --- stores --- */

/* The loader forgets a module before it unmaps it. */
static bool is_loaded(const struct link_map *link_map, uint64_t address)
{
	struct dl_find_object found;

	if (!link_map)
		return true;
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	return _dl_find_object && _dl_find_object((void *)address, &found) == 0 &&
	       found.dlfo_link_map == link_map;
}

static bool is_still_there(const struct walk *walk, uint64_t address)
{
	return is_loaded(walk->link_map, address);
}

static int store_once(const struct walk *walk, uint64_t slot, uint64_t value)
{
	uint64_t page = slot & ~(uint64_t)(SP_PAGE_BYTES - 1);
	int err = (int)sp_syscall3(SYS_mprotect, page, SP_PAGE_BYTES,
				   PROT_READ | PROT_WRITE);

	if (err)
		return err;
	if (!is_still_there(walk, slot))
		return -ESTALE;
	err = sp_guarded_store(slot, value);
	if (is_still_there(walk, slot))
		sp_syscall3(SYS_mprotect, page, SP_PAGE_BYTES, PROT_READ);
	return err;
}

static bool is_stored(uint64_t slot, uint64_t value)
{
	uint64_t now;

	return sp_guarded_read(slot, &now, sizeof(now)) && now == value;
}

/* Another thread that patches the module may have made the page read-only again, and
 * have stored the same. */
static int store_read_only(const struct walk *walk, uint64_t slot, uint64_t value)
{
	int err = -EFAULT;

	for (unsigned int tries = 0;
	     tries < STORE_TRIES && err == -EFAULT && !is_stored(slot, value); tries++)
		err = store_once(walk, slot, value);
	return err == -EFAULT && is_stored(slot, value) ? 0 : err;
}

static int store(const struct walk *walk, uint64_t slot, uint64_t value)
{
	int err;

	if (!is_still_there(walk, slot))
		return -ESTALE;
	err = sp_guarded_store(slot, value);
	if (err == -EFAULT && is_in_relro(&walk->image, slot))
		err = store_read_only(walk, slot, value);
	return err;
}

/* --- what a slot leads to --- */

/* A slot that waits for its first call leads back into the module. */
static bool is_unbound(const struct walk *walk, const struct import *import,
		       uint64_t value)
{
	const Elf64_Sym *symbol = &import->symbol;

	return import->type == R_X86_64_JUMP_SLOT &&
	       sp_got_image_holds(&walk->image, value) &&
	       (symbol->st_shndx == SHN_UNDEF ||
		value != walk->image.base + symbol->st_value);
}

/* What the loader will find, 0 when that cannot be told. */
static uint64_t find_target(const struct walk *walk, const struct import *import)
{
	if (is_late(walk) ||
	    (walk->image.is_symbolic && import->symbol.st_shndx != SHN_UNDEF))
		return 0;
	return (uint64_t)(uintptr_t)sp_next_find_first(
		import->name, sp_got_image_version(&walk->image, import->index));
}

/* -ESTALE when the module is gone. */
static int put(const struct walk *walk, const struct import *import, uint64_t value)
{
	int err = store(walk, import->slot, value);

	if (err == -ESTALE)
		return err;
	if (err)
		walk->result->failed++;
	else
		walk->result->replaced++;
	return 0;
}

static int consider_waiting(const struct walk *walk, const struct import *import,
			    uint64_t stub)
{
	const struct sp_got_patch *patch = walk->patch;
	const struct sp_got_slot slot = {import->slot, walk->link_map};
	uint64_t replacement = 0;

	if (patch->replacement_for_waiting)
		replacement = patch->replacement_for_waiting(import->name, stub, &slot,
							     patch->context);
	if (replacement)
		return replacement == stub ? 0 : put(walk, import, replacement);
	walk->result->unbound++;
	return 0;
}

static int consider(const struct walk *walk, const struct import *import)
{
	const struct sp_got_patch *patch = walk->patch;
	uint64_t value, target, replacement;

	if (!sp_got_image_bytes(&walk->image, import->slot, &value, sizeof(value)) ||
	    !value)
		return 0;
	target = value;
	if (is_unbound(walk, import, value)) {
		target = find_target(walk, import);
		if (!target)
			return consider_waiting(walk, import, value);
	}
	replacement = patch->replacement_for(import->name, target, patch->context);
	return !replacement || replacement == target ? 0 : put(walk, import, replacement);
}

/* --- tables --- */

static const unsigned char *page_at(const struct walk *walk, uint64_t page)
{
	uint32_t place = page / SP_PAGE_BYTES % CACHED_PAGES;
	struct cache *cache = walk->cache;

	if (!is_late(walk))
		// NOLINTNEXTLINE(performance-no-int-to-ptr)
		return sp_got_image_holds(&walk->image, page) ? (const void *)page : NULL;
	if (cache->addresses[place] != page) {
		cache->addresses[place] = 0;
		if (!sp_got_image_bytes(&walk->image, page, cache->pages[place],
					SP_PAGE_BYTES))
			return NULL;
		cache->addresses[place] = page;
	}
	return cache->pages[place];
}

/* The bytes at address, as many as the page has, at most size_bytes; 0: none. */
static size_t read_some(const struct walk *walk, uint64_t address, void *out,
			size_t size_bytes)
{
	size_t offset = address % SP_PAGE_BYTES, count = SP_PAGE_BYTES - offset;
	const unsigned char *page = page_at(walk, address - offset);

	if (!page)
		return 0;
	if (count > size_bytes)
		count = size_bytes;
	memcpy(out, page + offset, count);
	return count;
}

static bool read_entry(const struct walk *walk, uint64_t address, void *out,
		       size_t size_bytes)
{
	size_t count = read_some(walk, address, out, size_bytes);

	return count == size_bytes ||
	       (count && read_some(walk, address + count, (char *)out + count,
				   size_bytes - count) == size_bytes - count);
}

static bool may_be_function(const Elf64_Sym *symbol)
{
	unsigned int type = ELF64_ST_TYPE(symbol->st_info);

	return symbol->st_name && ELF64_ST_BIND(symbol->st_info) != STB_LOCAL &&
	       (type == STT_NOTYPE || type == STT_FUNC || type == STT_GNU_IFUNC);
}

/* The name is "" when it is no function's, or too long. */
static int read_name(const struct walk *walk, struct import *import)
{
	const struct sp_got_image *image = &walk->image;
	uint64_t at = import->symbol.st_name, room;
	size_t count;

	if (!may_be_function(&import->symbol) || at >= image->strings_bytes) {
		import->name[0] = '\0';
		return 0;
	}
	room = image->strings_bytes - at;
	if (room > NAME_BYTES)
		room = NAME_BYTES;
	count = read_some(walk, image->strings + at, import->name, room);
	if (!count)
		return -EFAULT;
	if (memchr(import->name, '\0', count))
		return 0;
	if (count < room && !read_some(walk, image->strings + at + count,
				       import->name + count, room - count))
		return -EFAULT;
	if (!memchr(import->name, '\0', room))
		import->name[0] = '\0';
	return 0;
}

/* Is it a slot, with the plain address of a function, that we may change? */
static bool take_relocation(const struct walk *walk, const Elf64_Rela *relocation,
			    struct import *import)
{
	const struct sp_got_image *image = &walk->image;

	import->slot = image->base + relocation->r_offset;
	import->index = (uint32_t)ELF64_R_SYM(relocation->r_info);
	import->type = (uint32_t)ELF64_R_TYPE(relocation->r_info);
	if (!import->index || !sp_got_image_holds(image, import->slot) ||
	    import->slot % sizeof(uint64_t))
		return false;
	if (import->type == R_X86_64_64)
		return relocation->r_addend == 0 &&
		       (!is_late(walk) || is_in_relro(image, import->slot));
	return import->type == R_X86_64_JUMP_SLOT || import->type == R_X86_64_GLOB_DAT;
}

/* By what the slot holds now, which comes at less than a name. */
static bool may_be_wanted(const struct walk *walk, uint64_t slot)
{
	const struct sp_got_patch *patch = walk->patch;
	uint64_t value;

	return !patch->target_last ||
	       (read_entry(walk, slot, &value, sizeof(value)) &&
		value >= patch->target_first && value <= patch->target_last);
}

static int walk_table(const struct walk *walk, const struct sp_got_table *table)
{
	const struct sp_got_patch *patch = walk->patch;
	struct import import;

	for (uint64_t i = 0; i < table->count; i++) {
		Elf64_Rela relocation;
		int err;

		if (!read_entry(walk, table->address + i * sizeof(relocation),
				&relocation, sizeof(relocation)))
			return -EFAULT;
		if (!take_relocation(walk, &relocation, &import) ||
		    !may_be_wanted(walk, import.slot))
			continue;
		if (!read_entry(walk,
				walk->image.symbols +
					import.index * sizeof(import.symbol),
				&import.symbol, sizeof(import.symbol)))
			return -EFAULT;
		err = read_name(walk, &import);
		if (err)
			return err;
		if (import.name[0] && patch->is_wanted(import.name, patch->context))
			err = consider(walk, &import);
		if (err)
			return err;
	}
	return 0;
}

/* --- modules --- */

static bool is_skipped(const struct walk *walk)
{
	const struct link_map *own = sp_next_own_object();
	const struct link_map *const *skipped = walk->patch->skipped;

	if (own && (uint64_t)(uintptr_t)own->l_ld == walk->image.dynamic)
		return true;
	for (; skipped && *skipped; skipped++) {
		if ((uint64_t)(uintptr_t)(*skipped)->l_ld == walk->image.dynamic)
			return true;
	}
	return false;
}

static int patch_module(struct cache *cache, uint64_t start,
			const struct link_map *link_map, const struct sp_got_patch *patch,
			struct sp_got_result *result)
{
	struct walk walk = {
		.cache = cache, .link_map = link_map, .patch = patch, .result = result};
	int err = sp_got_image_read(start, &walk.image);

	if (err)
		return err == -ENOEXEC ? 0 : err;
	if (is_skipped(&walk))
		return 0;
	memset(cache->addresses, 0, sizeof(cache->addresses));
	err = walk_table(&walk, &walk.image.plt);
	return err ? err : walk_table(&walk, &walk.image.other);
}

int sp_got_patch_module(uint64_t start, const struct link_map *link_map,
			const struct sp_got_patch *patch, struct sp_got_result *result)
{
	struct cache *cache;
	int err;

	if (!link_map)
		return -EINVAL;
	cache = sp_pages_map(sizeof(*cache));
	if (!cache)
		return -ENOMEM;
	err = patch_module(cache, start, link_map, patch, result);
	sp_pages_unmap(cache, sizeof(*cache));
	return err;
}

uint64_t sp_got_read(const struct sp_got_slot *slot)
{
	uint64_t value;

	return is_loaded(slot->link_map, slot->address) &&
			       sp_guarded_read(slot->address, &value, sizeof(value))
		       ? value
		       : 0;
}

int sp_got_replace(const struct sp_got_slot *slot, uint64_t value)
{
	return is_loaded(slot->link_map, slot->address)
		       ? sp_guarded_store(slot->address, value)
		       : -ESTALE;
}

/* Where an object begins; before glibc 2.35 only the usual place is known. */
static uint64_t start_of(const struct link_map *object)
{
	struct dl_find_object found;

	if (_dl_find_object && _dl_find_object(object->l_ld, &found) == 0)
		return (uint64_t)(uintptr_t)found.dlfo_map_start;
	return object->l_addr ? object->l_addr
			      : getauxval(AT_PHDR) & ~(uint64_t)(SP_PAGE_BYTES - 1);
}

void sp_got_patch_object(const struct link_map *object, const struct sp_got_patch *patch,
			 struct sp_got_result *result)
{
	struct cache *cache = sp_pages_map(sizeof(*cache));

	if (!cache || patch_module(cache, start_of(object), NULL, patch, result) != 0)
		result->failed++;
	if (cache)
		sp_pages_unmap(cache, sizeof(*cache));
}

/* The list is the loader's, which may be changing it. */
static void patch_those_loaded_later(struct cache *cache,
				     const struct sp_got_patch *patch,
				     struct sp_got_result *result)
{
	uint64_t at = (uint64_t)(uintptr_t)sp_next_last_object()->l_next;
	struct link_map object;

	for (uint32_t i = 0;
	     i < MODULES_MAX && at && sp_guarded_read(at, &object, sizeof(object));
	     i++, at = (uint64_t)(uintptr_t)object.l_next) {
		struct dl_find_object found;
		uint64_t start;

		if (!_dl_find_object || _dl_find_object(object.l_ld, &found) != 0)
			continue;
		start = (uint64_t)(uintptr_t)found.dlfo_map_start;
		if (patch_module(cache, start, found.dlfo_link_map, patch, result) != 0 &&
		    is_loaded(found.dlfo_link_map, start))
			result->failed++;
	}
}

void sp_got_patch_all(const struct sp_got_patch *patch, struct sp_got_result *result)
{
	const struct link_map *last = sp_next_last_object();
	struct cache *cache = sp_pages_map(sizeof(*cache));

	if (!cache) {
		result->failed++;
		return;
	}
	for (const struct link_map *object = _r_debug.r_map; object;
	     object = object->l_next) {
		if (patch_module(cache, start_of(object), NULL, patch, result) != 0)
			result->failed++;
		if (object == last)
			break;
	}
	patch_those_loaded_later(cache, patch, result);
	sp_pages_unmap(cache, sizeof(*cache));
}

/* The list is the loader's, which may be changing it: a glance that goes wrong is a
 * change. */
bool sp_got_have_modules_changed(void)
{
	static uint64_t last_hash;
	uint64_t at = (uint64_t)(uintptr_t)sp_next_last_object()->l_next, hash = 0;

	for (uint32_t i = 0; i < MODULES_MAX && at; i++) {
		struct link_map object = {.l_ld = NULL};
		struct dl_find_object found;
		bool is_known;

		if (!sp_guarded_read(at, &object, sizeof(object)))
			break;
		is_known = _dl_find_object && _dl_find_object(object.l_ld, &found) == 0;
		hash = (hash ^ at ^ (uint64_t)(uintptr_t)object.l_ld) * HASH_PRIME +
		       is_known;
		at = (uint64_t)(uintptr_t)object.l_next;
	}
	if (hash == last_hash)
		return false;
	last_hash = hash;
	return true;
}
