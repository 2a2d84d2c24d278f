/*
 * Look-up of a name in a module's own hash table, the loader's way, but for every read
 * being guarded. Context: collector.
 */
#include "sp_module_symbol.h"

#include "got_image.h"

#include <string.h>

#define DYNAMIC_AT_ONCE 64U
#define NAME_BYTES_MAX 256U
/* Of one bucket. */
#define CHAIN_MAX 1024U

struct hash_table {
	uint32_t bucket_count, first_symbol, bloom_words, bloom_shift;
};

static uint32_t hash_of(const char *name)
{
	uint32_t hash = 5381;

	for (; *name; name++)
		hash = hash * 33 + (unsigned char)*name;
	return hash;
}

/* Address of the hash table; 0: none. As many entries at once as can be read. */
static uint64_t find_hash_table(const struct sp_got_image *image)
{
	Elf64_Dyn entries[DYNAMIC_AT_ONCE];
	uint32_t count = DYNAMIC_AT_ONCE;
	uint64_t at = image->dynamic;

	while (count) {
		if (!sp_got_image_bytes(image, at, entries, count * sizeof(entries[0]))) {
			count /= 2;
			continue;
		}
		for (uint32_t i = 0; i < count; i++) {
			uint64_t value = entries[i].d_un.d_ptr;

			if (entries[i].d_tag == DT_NULL)
				return 0;
			if (entries[i].d_tag == DT_GNU_HASH)
				return value < image->start ? value + image->base : value;
		}
		at += count * sizeof(entries[0]);
	}
	return 0;
}

static bool is_named(const struct sp_got_image *image, const Elf64_Sym *symbol,
		     const char *name)
{
	size_t bytes = strlen(name) + 1;
	char text[NAME_BYTES_MAX];

	return bytes <= sizeof(text) &&
	       sp_got_image_bytes(image, image->strings + symbol->st_name, text, bytes) &&
	       memcmp(text, name, bytes) == 0;
}

/* The first by that name that the loader finds in the module, whatever its version. */
static bool find_symbol(uint64_t start, const char *name, struct sp_got_image *image,
			Elf64_Sym *symbol)
{
	struct hash_table table;
	uint64_t at, buckets, chains;
	uint32_t hash = hash_of(name), index, word;

	if (sp_got_image_read(start, image) != 0)
		return false;
	at = find_hash_table(image);
	if (!at || !sp_got_image_bytes(image, at, &table, sizeof(table)) ||
	    !table.bucket_count)
		return false;
	buckets = at + sizeof(table) + table.bloom_words * sizeof(uint64_t);
	chains = buckets + table.bucket_count * sizeof(uint32_t);
	if (!sp_got_image_bytes(image,
				buckets + hash % table.bucket_count * sizeof(uint32_t),
				&index, sizeof(index)) ||
	    index < table.first_symbol)
		return false;
	for (uint32_t i = 0; i < CHAIN_MAX; i++, index++) {
		uint64_t chain = chains + (uint64_t)(index - table.first_symbol) *
						  sizeof(uint32_t);

		if (!sp_got_image_bytes(image, chain, &word, sizeof(word)))
			break;
		/* The lowest bit of a chain word marks the end of its bucket. */
		if ((word | 1) == (hash | 1) &&
		    sp_got_image_bytes(image, image->symbols + index * sizeof(*symbol),
				       symbol, sizeof(*symbol)) &&
		    is_named(image, symbol, name))
			return true;
		if (word & 1)
			break;
	}
	return false;
}

uint64_t sp_module_symbol(uint64_t start, const char *name)
{
	struct sp_got_image image;
	Elf64_Sym symbol;

	return find_symbol(start, name, &image, &symbol) && symbol.st_shndx != SHN_UNDEF
		       ? image.base + symbol.st_value
		       : 0;
}

bool sp_module_symbol_is_no_function(uint64_t start, const char *name)
{
	struct sp_got_image image;
	Elf64_Sym symbol;
	unsigned int type;

	if (!find_symbol(start, name, &image, &symbol))
		return false;
	type = ELF64_ST_TYPE(symbol.st_info);
	return symbol.st_shndx == SHN_UNDEF ||
	       (type != STT_NOTYPE && type != STT_FUNC && type != STT_GNU_IFUNC);
}
