/*
 * String ownership of the symboliser: a hash table of pointers into blocks that
 * only grow. Runs on the reporter thread. Invariant: a string handed out never
 * moves and is valid UTF-8 without control characters.
 */
#include "sp_symbol_names.h"

#include "sp_heap.h"

#include <stdbool.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)65536)
#define SLOTS_AT_FIRST ((size_t)1024)
#define OFFSET_NAME_PATH_BYTES ((size_t)255)
#define OFFSET_NAME_BYTES (OFFSET_NAME_PATH_BYTES + 3 + 16 + 1)

struct sp_names_block {
	struct sp_names_block *next;
	size_t used_bytes, capacity_bytes;
	char bytes[];
};

void sp_symbol_names_init(struct sp_symbol_names *names)
{
	memset(names, 0, sizeof(*names));
}

void sp_symbol_names_fini(struct sp_symbol_names *names)
{
	while (names->blocks) {
		struct sp_names_block *next = names->blocks->next;

		sp_heap_free(names->blocks);
		names->blocks = next;
	}
	sp_heap_free(names->slots);
	sp_symbol_names_init(names);
}

static uint64_t hash_name(const char *name, size_t length)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 32;
}

/* Where a name is, or the free slot where it belongs. */
static const char **find_slot(const char **slots, size_t slot_count, const char *name,
			      size_t length)
{
	size_t at = (size_t)hash_name(name, length) & (slot_count - 1);

	while (slots[at] &&
	       (strncmp(slots[at], name, length) != 0 || slots[at][length] != '\0'))
		at = (at + 1) & (slot_count - 1);
	return &slots[at];
}

static bool grow_slots(struct sp_symbol_names *names)
{
	size_t slot_count = names->slot_count ? names->slot_count * 2 : SLOTS_AT_FIRST;
	const char **slots = sp_heap_zalloc(slot_count * sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = 0; i < names->slot_count; i++) {
		const char *name = names->slots[i];

		if (name)
			*find_slot(slots, slot_count, name, strlen(name)) = name;
	}
	sp_heap_free(names->slots);
	names->slots = slots;
	names->slot_count = slot_count;
	return true;
}

static char *take_bytes(struct sp_symbol_names *names, size_t size_bytes)
{
	struct sp_names_block *block = names->blocks;
	char *taken;

	if (size_bytes > SP_SYMBOL_NAMES_BYTES_MAX - names->total_bytes)
		return NULL;
	if (!block || size_bytes > block->capacity_bytes - block->used_bytes) {
		size_t capacity_bytes =
			size_bytes > BLOCK_BYTES ? size_bytes : BLOCK_BYTES;

		block = sp_heap_alloc(sizeof(*block) + capacity_bytes);
		if (!block)
			return NULL;
		block->next = names->blocks;
		block->used_bytes = 0;
		block->capacity_bytes = capacity_bytes;
		names->blocks = block;
	}
	taken = block->bytes + block->used_bytes;
	block->used_bytes += size_bytes;
	names->total_bytes += size_bytes;
	return taken;
}

/* Bytes of the well-formed UTF-8 character at text, 0 when it is none. */
static size_t character_bytes(const uint8_t *text, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t count;
	uint32_t code;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f;
	if ((text[0] & 0xe0) == 0xc0)
		count = 2;
	else if ((text[0] & 0xf0) == 0xe0)
		count = 3;
	else if ((text[0] & 0xf8) == 0xf0)
		count = 4;
	else
		return 0;
	if (count > left)
		return 0;
	code = text[0] & (0xffU >> (count + 1));
	for (size_t i = 1; i < count; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3fU);
	}
	if (code < least[count] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return count;
}

static bool is_clean(const char *name, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((uint8_t)name[i] < 0x20 || (uint8_t)name[i] >= 0x7f)
			return false;
	return true;
}

static void copy_clean(char *to, const char *name, size_t length)
{
	size_t i = 0;

	while (i < length) {
		size_t count = character_bytes((const uint8_t *)name + i, length - i);

		if (count == 0)
			to[i++] = '?';
		else
			memcpy(to + i, name + i, count);
		i += count;
	}
	to[length] = '\0';
}

const char *sp_symbol_names_intern(struct sp_symbol_names *names, const char *name,
				   size_t length)
{
	struct sp_names_block *block;
	const char **slot;
	char *copy;

	if (names->used_slots * 2 >= names->slot_count && !grow_slots(names))
		return NULL;
	if (is_clean(name, length)) {
		slot = find_slot(names->slots, names->slot_count, name, length);
		if (*slot)
			return *slot;
		copy = take_bytes(names, length + 1);
		if (!copy)
			return NULL;
		memcpy(copy, name, length);
		copy[length] = '\0';
	} else {
		/* Cleaned in place first, given back if that string is known. */
		copy = take_bytes(names, length + 1);
		if (!copy)
			return NULL;
		copy_clean(copy, name, length);
		slot = find_slot(names->slots, names->slot_count, copy, length);
		if (*slot) {
			block = names->blocks;
			block->used_bytes -= length + 1;
			names->total_bytes -= length + 1;
			return *slot;
		}
	}
	*slot = copy;
	names->used_slots++;
	return copy;
}

const char *sp_symbol_names_offset(struct sp_symbol_names *names, const char *path,
				   uint64_t offset)
{
	static const char digits[] = "0123456789abcdef";
	static const char deleted[] = " (deleted)";
	char name[OFFSET_NAME_BYTES];
	const char *base;
	size_t length, path_length;
	int shift = 60;

	if (!path || path[0] == '\0')
		path = "[module]";
	path_length = strlen(path);
	/* The kernel's mark of a replaced file would give one function two names. */
	if (path_length > sizeof(deleted) - 1 &&
	    memcmp(path + path_length - (sizeof(deleted) - 1), deleted,
		   sizeof(deleted) - 1) == 0)
		path_length -= sizeof(deleted) - 1;
	base = path + path_length;
	while (base > path && base[-1] != '/')
		base--;
	length = (size_t)(path + path_length - base);
	if (length > OFFSET_NAME_PATH_BYTES)
		length = OFFSET_NAME_PATH_BYTES;
	memcpy(name, base, length);
	memcpy(name + length, "+0x", 3);
	length += 3;
	while (shift > 0 && (offset >> shift & 15) == 0)
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		name[length++] = digits[offset >> shift & 15];
	return sp_symbol_names_intern(names, name, length);
}
