/*
 * Finds the next definition of an interposed symbol in the hash tables of the
 * objects loaded after ours. Runs in host frames as early as the first allocation
 * of the dynamic loader's clients, so it uses nothing but the loader's list and the
 * mapped images. Only objects of the start-up are searched: they are never
 * unloaded, so the walk needs no lock, and they are what RTLD_NEXT would search.
 */
#include "sp_next.h"

#include "sp_compiler.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#define VERSION_HIDDEN 0x8000U
#define VERSION_INDEX_MASK 0x7fffU

/* Our own dynamic section: identifies our object in the loader's list. */
extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

/* What the search needs of an object's dynamic section, as addresses. */
struct symbol_tables {
	const ElfW(Sym) * symbols;
	const char *strings;
	const uint32_t *gnu_hash;
	const Elf32_Word *sysv_hash;
	const ElfW(Versym) * versions; /* NULL: the object has no versions */
	const ElfW(Verdef) * definitions;
	ElfW(Addr) base;
};

/* Best match so far: a default definition ends the search, an old one does not. */
struct match {
	const ElfW(Sym) * symbol;
	bool is_default;
};

/* strcmp() is an indirect function, which may not be bound yet when we run first. */
static bool is_same_name(const char *left, const char *right)
{
	while (*left != '\0' && *left == *right) {
		left++;
		right++;
	}
	return *left == *right;
}

static uint32_t hash_gnu(const char *name)
{
	uint32_t hash = 5381;

	for (; *name != '\0'; name++)
		hash = hash * 33 + (unsigned char)*name;
	return hash;
}

static uint32_t hash_sysv(const char *name)
{
	uint32_t hash = 0;

	for (; *name != '\0'; name++) {
		uint32_t high;

		hash = (hash << 4) + (unsigned char)*name;
		high = hash & 0xf0000000U;
		hash = (hash ^ (high >> 24)) & ~high;
	}
	return hash;
}

/*
 * glibc relocates these entries in place, but not where the dynamic section
 * is read-only; an address below the object's base is still relative.
 */
static const void *table_address(const struct link_map *object, ElfW(Addr) value)
{
	if (value < object->l_addr)
		value += object->l_addr;
	return (const void *)value; // NOLINT(performance-no-int-to-ptr)
}

static bool read_tables(const struct link_map *object, struct symbol_tables *tables)
{
	const ElfW(Dyn) *entry = object->l_ld;

	if (entry == NULL)
		return false;
	*tables = (struct symbol_tables){.base = object->l_addr};
	for (; entry->d_tag != DT_NULL; entry++) {
		const void *address = table_address(object, entry->d_un.d_ptr);

		switch (entry->d_tag) {
		case DT_SYMTAB:
			tables->symbols = address;
			break;
		case DT_STRTAB:
			tables->strings = address;
			break;
		case DT_GNU_HASH:
			tables->gnu_hash = address;
			break;
		case DT_HASH:
			tables->sysv_hash = address;
			break;
		case DT_VERSYM:
			tables->versions = address;
			break;
		case DT_VERDEF:
			tables->definitions = address;
			break;
		default:
			break;
		}
	}
	return tables->symbols != NULL && tables->strings != NULL;
}

static bool is_version_named(const struct symbol_tables *tables, unsigned int index,
			     const char *version)
{
	const char *at = (const char *)tables->definitions;

	while (at != NULL) {
		const ElfW(Verdef) *definition = (const void *)at;

		if ((definition->vd_ndx & VERSION_INDEX_MASK) == index) {
			const ElfW(Verdaux) *name =
				(const void *)(at + definition->vd_aux);

			return is_same_name(tables->strings + name->vda_name, version);
		}
		at = definition->vd_next == 0 ? NULL : at + definition->vd_next;
	}
	return false;
}

/* True when the search may end. */
static bool consider(const struct symbol_tables *tables, uint32_t index, const char *name,
		     const char *version, struct match *match)
{
	const ElfW(Sym) *symbol = &tables->symbols[index];
	unsigned int type = ELF64_ST_TYPE(symbol->st_info);
	unsigned int versym;

	if (symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0 ||
	    ELF64_ST_BIND(symbol->st_info) == STB_LOCAL)
		return false;
	if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE &&
	    type != STT_OBJECT)
		return false;
	if (!is_same_name(tables->strings + symbol->st_name, name))
		return false;

	versym = tables->versions == NULL ? VER_NDX_GLOBAL : tables->versions[index];
	if ((versym & VERSION_INDEX_MASK) == VER_NDX_LOCAL)
		return false;
	if (version != NULL) {
		/* A definition without a version satisfies a request for any. */
		if ((versym & VERSION_INDEX_MASK) != VER_NDX_GLOBAL &&
		    !is_version_named(tables, versym & VERSION_INDEX_MASK, version))
			return false;
		*match = (struct match){symbol, true};
		return true;
	}
	if ((versym & VERSION_HIDDEN) == 0) {
		*match = (struct match){symbol, true};
		return true;
	}
	if (match->symbol == NULL)
		*match = (struct match){symbol, false};
	return false;
}

static void search_gnu_hash(const struct symbol_tables *tables, const char *name,
			    const char *version, struct match *match)
{
	const uint32_t *header = tables->gnu_hash;
	uint32_t bucket_count = header[0], first_symbol = header[1];
	uint32_t bloom_words = header[2], bloom_shift = header[3];
	const ElfW(Addr) *bloom = (const void *)(header + 4);
	const uint32_t *buckets = (const void *)(bloom + bloom_words);
	const uint32_t *chains = buckets + bucket_count;
	uint32_t hash = hash_gnu(name), index;

	if (bucket_count == 0)
		return;
	if (bloom_words != 0) {
		ElfW(Addr) word = bloom[hash / 64 % bloom_words];

		if ((word >> (hash % 64) & word >> ((hash >> bloom_shift) % 64) & 1) == 0)
			return;
	}
	index = buckets[hash % bucket_count];
	if (index < first_symbol)
		return;
	for (;; index++) {
		uint32_t chain = chains[index - first_symbol];

		/* The lowest bit of a chain word marks the end of its bucket. */
		if ((chain | 1) == (hash | 1) &&
		    consider(tables, index, name, version, match))
			return;
		if ((chain & 1) != 0)
			return;
	}
}

static void search_sysv_hash(const struct symbol_tables *tables, const char *name,
			     const char *version, struct match *match)
{
	uint32_t bucket_count = tables->sysv_hash[0];
	const Elf32_Word *buckets = tables->sysv_hash + 2;
	const Elf32_Word *chains = buckets + bucket_count;
	uint32_t index;

	if (bucket_count == 0)
		return;
	for (index = buckets[hash_sysv(name) % bucket_count]; index != STN_UNDEF;
	     index = chains[index])
		if (consider(tables, index, name, version, match))
			return;
}

static const ElfW(Sym) *
	find_symbol(const struct link_map *object, const char *name, const char *version)
{
	struct symbol_tables tables;
	struct match match = {NULL, false};

	if (!read_tables(object, &tables))
		return NULL;
	if (tables.gnu_hash != NULL)
		search_gnu_hash(&tables, name, version, &match);
	else if (tables.sysv_hash != NULL)
		search_sysv_hash(&tables, name, version, &match);
	return match.symbol;
}

const ElfW(Sym) * sp_next_symbol_in(const struct link_map *object, const char *name)
{
	return find_symbol(object, name, NULL);
}

void *sp_next_find_in(const struct link_map *object, const char *name,
		      const char *version)
{
	const ElfW(Sym) *symbol = find_symbol(object, name, version);
	ElfW(Addr) address;

	if (symbol == NULL)
		return NULL;
	address = symbol->st_value;
	if (symbol->st_shndx != SHN_ABS)
		address += object->l_addr;
	if (ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC)
		// NOLINTNEXTLINE(performance-no-int-to-ptr)
		address = ((ElfW(Addr)(*)(void))address)();
	return (void *)address; // NOLINT(performance-no-int-to-ptr)
}

/* Of an object's symbols, all that its tables know of. */
static uint32_t count_symbols(const struct symbol_tables *tables)
{
	const uint32_t *header = tables->gnu_hash;
	const uint32_t *buckets, *chains;
	uint32_t last = 0;

	if (header == NULL)
		return tables->sysv_hash != NULL ? tables->sysv_hash[1] : 0;
	buckets = (const void *)((const ElfW(Addr) *)(header + 4) + header[2]);
	chains = buckets + header[0];
	for (uint32_t i = 0; i < header[0]; i++)
		if (buckets[i] > last)
			last = buckets[i];
	if (last < header[1])
		return header[1];
	while ((chains[last - header[1]] & 1) == 0)
		last++;
	return last + 1;
}

static bool is_any_import(const struct symbol_tables *tables, uint32_t from, uint32_t end,
			  bool (*is_wanted)(const char *name))
{
	for (uint32_t i = from; i < end; i++)
		if (tables->symbols[i].st_shndx == SHN_UNDEF &&
		    is_wanted(tables->strings + tables->symbols[i].st_name))
			return true;
	return false;
}

SP_COLD bool sp_next_has_import(const struct link_map *object,
				bool (*is_wanted)(const char *name))
{
	struct symbol_tables tables;
	uint32_t first;

	if (!read_tables(object, &tables))
		return false;
	/* Most of what an object only asks for comes before what its newer kind of table
	 * knows; malloc() of programs that are linked with jemalloc does not. */
	first = tables.gnu_hash != NULL ? tables.gnu_hash[1] : 1;
	return is_any_import(&tables, 1, first, is_wanted) ||
	       is_any_import(&tables, first, count_symbols(&tables), is_wanted);
}

const struct link_map *sp_next_own_object(void)
{
	const struct link_map *object = _r_debug.r_map;

	while (object != NULL && object->l_ld != _DYNAMIC)
		object = object->l_next;
	return object;
}

/*
 * The last object of the start-up. What is loaded later is appended behind it
 * and may go at any moment; the first look-up comes before the program's main().
 */
const struct link_map *sp_next_last_object(void)
{
	static _Atomic(const struct link_map *) cached;
	/* Relaxed here and below: threads that meet agree on objects that were there
	 * before either of them. */
	const struct link_map *last = atomic_load_explicit(&cached, memory_order_relaxed);
	const struct link_map *none = NULL;

	if (sp_likely(last != NULL))
		return last;
	last = _r_debug.r_map;
	while (last != NULL && last->l_next != NULL)
		last = last->l_next;
	if (!atomic_compare_exchange_strong_explicit(
		    &cached, &none, last, memory_order_relaxed, memory_order_relaxed))
		last = none;
	return last;
}

/* The kernel's own object is listed, yet no look-up of the loader ever enters it. */
static bool is_vdso(const struct link_map *object)
{
	return object->l_addr != 0 && object->l_addr == getauxval(AT_SYSINFO_EHDR);
}

SP_COLD void *sp_next_find_in_vdso(const char *name)
{
	const struct link_map *object = _r_debug.r_map;

	while (object != NULL && !is_vdso(object))
		object = object->l_next;
	return object != NULL ? sp_next_find_in(object, name, NULL) : NULL;
}

static const struct link_map *find_behind(const struct link_map *object, const char *name,
					  const char *version, void **found)
{
	const struct link_map *last = sp_next_last_object();

	while (object != NULL && object != last) {
		object = object->l_next;
		if (object == NULL)
			break;
		if (is_vdso(object))
			continue;
		*found = sp_next_find_in(object, name, version);
		if (*found != NULL)
			return object;
	}
	*found = NULL;
	return NULL;
}

SP_COLD const struct link_map *sp_next_find_object(const char *name)
{
	void *found;

	return find_behind(sp_next_own_object(), name, NULL, &found);
}

SP_COLD void *sp_next_find_version(const char *name, const char *version)
{
	void *found;

	find_behind(sp_next_own_object(), name, version, &found);
	return found;
}

bool sp_next_is_startup(const struct link_map *object)
{
	const struct link_map *last = sp_next_last_object();
	const struct link_map *at = _r_debug.r_map;

	while (at != NULL && at != object && at != last)
		at = at->l_next;
	return at != NULL && at == object;
}

SP_COLD void *sp_next_find_behind(const struct link_map *object, const char *name,
				  const char *version)
{
	void *found = NULL;

	if (sp_next_is_startup(object))
		find_behind(object, name, version, &found);
	return found;
}

SP_COLD void *sp_next_find_first(const char *name, const char *version)
{
	const struct link_map *last = sp_next_last_object();
	const struct link_map *object = _r_debug.r_map;
	void *found = NULL;

	for (; object != NULL && found == NULL; object = object->l_next) {
		if (!is_vdso(object))
			found = sp_next_find_in(object, name, version);
		if (object == last)
			break;
	}
	return found;
}

SP_COLD bool sp_next_is_ours_first(const char *name)
{
	return sp_next_find_first(name, NULL) ==
	       sp_next_find_in(sp_next_own_object(), name, NULL);
}

SP_COLD void *sp_next_find(const char *name)
{
	return sp_next_find_version(name, NULL);
}
