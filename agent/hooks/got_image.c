/*
 * The headers and the dynamic section of a loaded module. Context: hook, collector.
 * Nothing is believed: what lies outside of the image is taken as absent, and every
 * read is guarded, but those of versions, which are asked for where the loader itself
 * relies on them.
 */
#include "got_image.h"

#include "sp_compiler.h"
#include "sp_guarded.h"
#include "sp_pages.h"

#include <errno.h>
#include <string.h>

#define HEADERS_MAX 64
#define DYNAMIC_ENTRIES_MAX 256
/* Few: the stack may be that of a thread of the program's which has little. */
#define HEADERS_AT_ONCE 16U
#define ENTRIES_AT_ONCE 32U
#define VERSIONS_MAX 4096
#define VERSION_INDEX_MASK 0x7fffU
#define VERSION_FIRST_NAMED 2U
#define USER_SPACE_END (UINT64_C(1) << 47)

static uint64_t page_floor(uint64_t value)
{
	return value & ~(uint64_t)(SP_PAGE_BYTES - 1);
}

bool sp_got_image_bytes(const struct sp_got_image *image, uint64_t address, void *buffer,
			size_t size_bytes)
{
	return sp_got_image_holds(image, address) && size_bytes <= image->end - address &&
	       sp_guarded_read(address, buffer, size_bytes);
}

/* What the headers tell; addresses are the file's. */
struct layout {
	uint64_t low, high; /* of all segments */
	uint64_t dynamic, dynamic_bytes;
	uint64_t relro, relro_end;
};

/* False: nothing that anybody loads. */
static bool take_header(struct layout *layout, const Elf64_Phdr *header)
{
	uint64_t end = header->p_vaddr + header->p_memsz;

	if (header->p_vaddr > USER_SPACE_END || header->p_memsz > USER_SPACE_END)
		return false;
	switch (header->p_type) {
	case PT_LOAD:
		if (header->p_vaddr < layout->low)
			layout->low = header->p_vaddr;
		if (end > layout->high)
			layout->high = end;
		break;
	case PT_DYNAMIC:
		layout->dynamic = header->p_vaddr;
		layout->dynamic_bytes = header->p_memsz;
		break;
	case PT_GNU_RELRO:
		layout->relro = header->p_vaddr;
		layout->relro_end = end;
		break;
	default:
		break;
	}
	return true;
}

static int read_header_table(uint64_t start, const Elf64_Ehdr *elf, struct layout *layout)
{
	Elf64_Phdr headers[HEADERS_AT_ONCE];

	for (uint32_t at = 0; at < elf->e_phnum; at += HEADERS_AT_ONCE) {
		uint32_t count = elf->e_phnum - at;

		if (count > HEADERS_AT_ONCE)
			count = HEADERS_AT_ONCE;
		if (!sp_guarded_read(start + elf->e_phoff + at * sizeof(headers[0]),
				     headers, count * sizeof(headers[0])))
			return -EFAULT;
		for (uint32_t i = 0; i < count; i++)
			if (!take_header(layout, &headers[i]))
				return -ENOEXEC;
	}
	return 0;
}

static int read_layout(uint64_t start, struct layout *layout)
{
	Elf64_Ehdr elf;

	*layout = (struct layout){.low = UINT64_MAX};
	if (!sp_guarded_read(start, &elf, sizeof(elf)))
		return -EFAULT;
	if (memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
	    elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_machine != EM_X86_64 ||
	    (elf.e_type != ET_DYN && elf.e_type != ET_EXEC) ||
	    elf.e_phentsize != sizeof(Elf64_Phdr) || elf.e_phnum > HEADERS_MAX ||
	    elf.e_phoff > USER_SPACE_END)
		return -ENOEXEC;
	return read_header_table(start, &elf, layout);
}

/* Extent and base of an image whose first segment is mapped at start. */
static bool place(uint64_t start, const struct layout *layout, struct sp_got_image *image)
{
	if (layout->low > layout->high)
		return false;
	image->start = start;
	image->base = start - page_floor(layout->low);
	image->end = page_floor(image->base + layout->high + SP_PAGE_BYTES - 1);
	return image->end > start && image->end <= USER_SPACE_END;
}

/* The loader has put addresses in most entries of the dynamic section, not in all. */
static uint64_t table_address(const struct sp_got_image *image, uint64_t value)
{
	if (value < image->start)
		value += image->base;
	return sp_got_image_holds(image, value) ? value : 0;
}

static void take_entry(struct sp_got_image *image, const Elf64_Dyn *entry,
		       uint64_t *relative_count)
{
	uint64_t value = entry->d_un.d_val, address = table_address(image, value);

	switch (entry->d_tag) {
	case DT_SYMTAB:
		image->symbols = address;
		break;
	case DT_STRTAB:
		image->strings = address;
		break;
	case DT_STRSZ:
		image->strings_bytes = value;
		break;
	case DT_JMPREL:
		image->plt.address = address;
		break;
	case DT_PLTRELSZ:
		image->plt.count = value / sizeof(Elf64_Rela);
		break;
	case DT_RELA:
		image->other.address = address;
		break;
	case DT_RELASZ:
		image->other.count = value / sizeof(Elf64_Rela);
		break;
	case DT_RELACOUNT:
		*relative_count = value;
		break;
	case DT_VERSYM:
		image->versions = address;
		break;
	case DT_VERNEED:
		image->needs = address;
		break;
	case DT_VERDEF:
		image->definitions = address;
		break;
	case DT_SYMBOLIC:
		image->is_symbolic = true;
		break;
	case DT_FLAGS:
		image->is_symbolic |= (value & DF_SYMBOLIC) != 0;
		break;
	default:
		break;
	}
}

/* A table ends within the image. */
static void clip(const struct sp_got_image *image, struct sp_got_table *table)
{
	uint64_t room;

	if (!table->address)
		table->count = 0;
	room = table->count ? (image->end - table->address) / sizeof(Elf64_Rela) : 0;
	if (table->count > room)
		table->count = room;
}

/* The linker puts those that name no symbol first. */
static void skip_relative(struct sp_got_table *table, uint64_t count)
{
	if (count > table->count)
		count = table->count;
	table->address += count * sizeof(Elf64_Rela);
	table->count -= count;
}

static int read_dynamic(struct sp_got_image *image, uint64_t size_bytes)
{
	Elf64_Dyn entries[ENTRIES_AT_ONCE];
	uint64_t left = size_bytes / sizeof(entries[0]), relative_count = 0;
	uint64_t at = image->dynamic;
	bool has_ended = false;

	if (left > DYNAMIC_ENTRIES_MAX)
		left = DYNAMIC_ENTRIES_MAX;
	while (left && !has_ended) {
		uint64_t count = left < ENTRIES_AT_ONCE ? left : ENTRIES_AT_ONCE;

		if (!sp_got_image_bytes(image, at, entries,
					(size_t)count * sizeof(entries[0])))
			return -EFAULT;
		for (uint64_t i = 0; i < count && !has_ended; i++) {
			has_ended = entries[i].d_tag == DT_NULL;
			take_entry(image, &entries[i], &relative_count);
		}
		at += count * sizeof(entries[0]);
		left -= count;
	}
	if (!image->symbols || !image->strings)
		return -ENOEXEC;
	if (image->strings_bytes > image->end - image->strings)
		image->strings_bytes = image->end - image->strings;
	clip(image, &image->plt);
	clip(image, &image->other);
	skip_relative(&image->other, relative_count);
	return 0;
}

int sp_got_image_read(uint64_t start, struct sp_got_image *image)
{
	struct layout layout;
	int err = read_layout(start, &layout);

	*image = (struct sp_got_image){0};
	if (err)
		return err;
	if (!place(start, &layout, image) || !layout.dynamic_bytes)
		return -ENOEXEC;
	image->dynamic = image->base + layout.dynamic;
	image->relro_start = page_floor(image->base + layout.relro);
	image->relro_end = page_floor(image->base + layout.relro_end);
	return read_dynamic(image, layout.dynamic_bytes);
}

static const void *memory(uint64_t address)
{
	return (const void *)(uintptr_t)address; // NOLINT(performance-no-int-to-ptr)
}

static const char *needed_version(const struct sp_got_image *image, unsigned int index)
{
	const char *at = memory(image->needs), *strings = memory(image->strings);

	for (uint32_t i = 0; at && i < VERSIONS_MAX; i++) {
		const Elf64_Verneed *need = (const void *)at;
		const char *entry = at + need->vn_aux;

		for (uint32_t j = 0; j < need->vn_cnt; j++) {
			const Elf64_Vernaux *version = (const void *)entry;

			if ((version->vna_other & VERSION_INDEX_MASK) == index)
				return strings + version->vna_name;
			entry += version->vna_next;
		}
		at = need->vn_next ? at + need->vn_next : NULL;
	}
	return NULL;
}

static const char *defined_version(const struct sp_got_image *image, unsigned int index)
{
	const char *at = memory(image->definitions), *strings = memory(image->strings);

	for (uint32_t i = 0; at && i < VERSIONS_MAX; i++) {
		const Elf64_Verdef *definition = (const void *)at;

		if ((definition->vd_ndx & VERSION_INDEX_MASK) == index) {
			const Elf64_Verdaux *name =
				(const void *)(at + definition->vd_aux);

			return strings + name->vda_name;
		}
		at = definition->vd_next ? at + definition->vd_next : NULL;
	}
	return NULL;
}

const char *sp_got_image_version(const struct sp_got_image *image, uint32_t index)
{
	const Elf64_Versym *versions = memory(image->versions);
	unsigned int version;
	const char *name;

	if (!versions)
		return NULL;
	version = versions[index] & VERSION_INDEX_MASK;
	if (version < VERSION_FIRST_NAMED)
		return NULL;
	name = needed_version(image, version);
	return name ? name : defined_version(image, version);
}
