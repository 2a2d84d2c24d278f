/*
 * ELF headers, build ids and sections. Context: collector. Nothing is believed:
 * every read of memory goes through the kernel, so that what is unmapped meanwhile
 * is an error and not a crash.
 */
#include "modules_elf.h"

#include "sp_compiler.h"
#include "sp_elf_fingerprint.h"
#include "sp_guarded.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define NOTE_BYTES_MAX 1024
#define SECTIONS_MAX 512
#define SECTION_NAME_BYTES 16

/* Headers come from memory, or from the file they were loaded from. */
struct source {
	int fd; /* -1: memory */
	uint64_t start;
	/* Its first bytes, since most of what is asked for is there: reading the
	 * memory of a process piece by piece takes its time. */
	uint8_t head[SP_PAGE_BYTES];
	size_t head_bytes;
};

static uint64_t page_floor(uint64_t value)
{
	return value & ~(uint64_t)(SP_PAGE_BYTES - 1);
}

static uint64_t page_ceil(uint64_t value)
{
	return page_floor(value + SP_PAGE_BYTES - 1);
}

bool sp_elf_read_file(int fd, uint64_t offset, void *buffer, size_t size_bytes)
{
	size_t done = 0;

	while (done < size_bytes) {
		long got = sp_syscall4(SYS_pread64, fd, (char *)buffer + done,
				       size_bytes - done, offset + done);

		if (got == -EINTR)
			continue;
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

static bool read_source(const struct source *source, uint64_t offset, void *buffer,
			size_t size_bytes)
{
	if (offset <= source->head_bytes && size_bytes <= source->head_bytes - offset) {
		memcpy(buffer, source->head + offset, size_bytes);
		return true;
	}
	return source->fd < 0
		       ? sp_guarded_read(source->start + offset, buffer, size_bytes)
		       : sp_elf_read_file(source->fd, offset, buffer, size_bytes);
}

static void open_source(struct source *source, int fd, uint64_t start)
{
	source->fd = fd;
	source->start = start;
	source->head_bytes = 0;
	if (read_source(source, 0, source->head, sizeof(source->head)))
		source->head_bytes = sizeof(source->head);
}

/* The number of program headers, or 0. */
static uint32_t read_headers(const struct source *source,
			     Elf64_Phdr headers[SP_ELF_FINGERPRINT_HEADERS_MAX],
			     Elf64_Ehdr *elf)
{
	if (!read_source(source, 0, elf, sizeof(*elf)))
		return 0;
	if (memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 ||
	    elf->e_ident[EI_CLASS] != ELFCLASS64 ||
	    elf->e_ident[EI_DATA] != ELFDATA2LSB || elf->e_machine != EM_X86_64 ||
	    (elf->e_type != ET_DYN && elf->e_type != ET_EXEC))
		return 0;
	if (elf->e_phentsize != sizeof(Elf64_Phdr) || elf->e_phnum == 0 ||
	    elf->e_phnum > SP_ELF_FINGERPRINT_HEADERS_MAX ||
	    !read_source(source, elf->e_phoff, headers,
			 elf->e_phnum * sizeof(Elf64_Phdr)))
		return 0;
	return elf->e_phnum;
}

static uint64_t align_note(uint64_t size_bytes, uint64_t align_bytes)
{
	return SP_ROUND_UP(size_bytes, align_bytes);
}

/* Looks for the build id in one note segment. */
static void read_notes(const struct source *source, uint64_t offset,
		       const Elf64_Phdr *header, struct sp_elf_image *image)
{
	uint64_t align_bytes = header->p_align == 8 ? 8 : 4;
	uint64_t left, at = 0;
	uint8_t notes[NOTE_BYTES_MAX];

	left = header->p_filesz < sizeof(notes) ? header->p_filesz : sizeof(notes);
	if (!read_source(source, offset, notes, left))
		return;
	while (left - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		uint64_t name, data;

		memcpy(&note, notes + at, sizeof(note));
		name = at + sizeof(note);
		data = name + align_note(note.n_namesz, align_bytes);
		if (data > left || note.n_descsz > left - data)
			return;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
		    memcmp(notes + name, ELF_NOTE_GNU, 4) == 0 && note.n_descsz &&
		    note.n_descsz <= SP_BUILD_ID_BYTES_MAX) {
			memcpy(image->build_id, notes + data, note.n_descsz);
			image->build_id_bytes = note.n_descsz;
			return;
		}
		at = data + align_note(note.n_descsz, align_bytes);
		if (at > left)
			return;
	}
}

static void read_build_id(const struct source *source, const Elf64_Phdr *headers,
			  uint32_t count, struct sp_elf_image *image)
{
	for (uint32_t i = 0; i < count && image->build_id_bytes == 0; i++) {
		const Elf64_Phdr *header = &headers[i];

		if (header->p_type != PT_NOTE || header->p_filesz < sizeof(Elf64_Nhdr))
			continue;
		/* In memory, offsets count from the start of the image. */
		read_notes(source,
			   source->fd < 0 ? image->base + header->p_vaddr - source->start
					  : header->p_offset,
			   header, image);
	}
}

/* Extent, base and text of an image whose first mapping is at start. */
static bool place_segments(uint64_t start, const Elf64_Ehdr *elf,
			   const Elf64_Phdr *headers, uint32_t count,
			   struct sp_elf_image *image)
{
	const Elf64_Phdr *first = NULL, *text = NULL;
	uint64_t low = UINT64_MAX, high = 0;

	for (uint32_t i = 0; i < count; i++) {
		const Elf64_Phdr *header = &headers[i];

		if (header->p_type != PT_LOAD || header->p_memsz == 0)
			continue;
		if (header->p_vaddr + header->p_memsz < header->p_vaddr ||
		    header->p_vaddr + header->p_memsz > UINT64_C(1) << 47)
			return false;
		if (!first && page_floor(header->p_offset) == 0)
			first = header;
		if (!text && (header->p_flags & PF_X))
			text = header;
		if (header->p_vaddr < low)
			low = header->p_vaddr;
		if (header->p_vaddr + header->p_memsz > high)
			high = header->p_vaddr + header->p_memsz;
	}
	if (!first || !text)
		return false;
	image->base = start - page_floor(first->p_vaddr);
	if (elf->e_type == ET_EXEC && image->base != 0)
		return false;
	image->start = image->base + page_floor(low);
	image->end = image->base + page_ceil(high);
	image->text_start = image->base + page_floor(text->p_vaddr);
	image->text_file_offset = page_floor(text->p_offset);
	return image->start == start && image->end > image->start;
}

/* .eh_frame_hdr tells where .eh_frame is; the segment, where it ends at most. */
static void place_eh_frame(const Elf64_Phdr *headers, uint32_t count,
			   struct sp_elf_image *image)
{
	uint8_t hdr[8];
	int32_t relative;

	if (image->hdr_bytes < sizeof(hdr) ||
	    !sp_guarded_read(image->hdr_address, hdr, sizeof(hdr)) || hdr[0] != 1) {
		image->hdr_bytes = 0;
		return;
	}
	memcpy(&relative, hdr + 4, sizeof(relative));
	if (hdr[1] == 0x1b) /* pcrel, sdata4 */
		image->eh_frame_address =
			image->hdr_address + 4 + (uint64_t)(int64_t)relative;
	else if (hdr[1] == 0x3b) /* datarel, sdata4 */
		image->eh_frame_address =
			image->hdr_address + (uint64_t)(int64_t)relative;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t segment = image->base + headers[i].p_vaddr;

		if (headers[i].p_type == PT_LOAD && image->eh_frame_address >= segment &&
		    image->eh_frame_address - segment < headers[i].p_filesz)
			image->eh_frame_bytes =
				segment + headers[i].p_filesz - image->eh_frame_address;
	}
	if (image->eh_frame_bytes == 0)
		image->hdr_bytes = 0;
}

bool sp_elf_read_image(const struct sp_map *first, struct sp_elf_image *image)
{
	struct source source;
	Elf64_Phdr headers[SP_ELF_FINGERPRINT_HEADERS_MAX];
	Elf64_Ehdr elf;
	uint32_t count;

	*image = (struct sp_elf_image){0};
	open_source(&source, -1, first->start);
	count = read_headers(&source, headers, &elf);
	if (count == 0 || !place_segments(first->start, &elf, headers, count, image))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const Elf64_Phdr *header = &headers[i];
		uint64_t address = image->base + header->p_vaddr;

		if (address < image->start || address > image->end ||
		    header->p_memsz > image->end - address)
			continue;
		if (header->p_type == PT_GNU_EH_FRAME) {
			image->hdr_address = address;
			image->hdr_bytes = header->p_memsz;
		} else if (header->p_type == PT_DYNAMIC) {
			image->dynamic_address = address;
			image->dynamic_bytes = header->p_memsz;
		}
	}
	place_eh_frame(headers, count, image);
	read_build_id(&source, headers, count, image);
	image->fingerprint = sp_elf_fingerprint(&elf, headers, count, image->build_id,
						image->build_id_bytes);
	return true;
}

int sp_elf_open_file(const char *path, const struct sp_elf_image *image)
{
	struct sp_elf_image of_file = {0};
	Elf64_Phdr headers[SP_ELF_FINGERPRINT_HEADERS_MAX];
	struct source source;
	Elf64_Ehdr elf;
	uint32_t count;
	long fd;

	/* Not blocking: a path may have become a pipe. */
	fd = sp_syscall3(SYS_open, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return (int)fd;
	open_source(&source, (int)fd, 0);
	count = read_headers(&source, headers, &elf);
	if (count) {
		read_build_id(&source, headers, count, &of_file);
		of_file.fingerprint = sp_elf_fingerprint(
			&elf, headers, count, of_file.build_id, of_file.build_id_bytes);
	}
	if (count && of_file.fingerprint == image->fingerprint)
		return (int)fd;
	sp_syscall1(SYS_close, fd);
	return -ESTALE;
}

bool sp_elf_find_section(int fd, const char *name, struct sp_elf_section *section)
{
	size_t name_bytes = strlen(name) + 1;
	Elf64_Shdr names, header;
	Elf64_Ehdr elf;

	if (name_bytes > SECTION_NAME_BYTES ||
	    !sp_elf_read_file(fd, 0, &elf, sizeof(elf)) ||
	    elf.e_shentsize != sizeof(header) || elf.e_shnum > SECTIONS_MAX ||
	    elf.e_shstrndx >= elf.e_shnum ||
	    !sp_elf_read_file(fd, elf.e_shoff + elf.e_shstrndx * sizeof(names), &names,
			      sizeof(names)))
		return false;
	for (uint32_t i = 0; i < elf.e_shnum; i++) {
		char found[SECTION_NAME_BYTES];

		if (!sp_elf_read_file(fd, elf.e_shoff + i * sizeof(header), &header,
				      sizeof(header)))
			return false;
		/* .debug_frame may also be of type SHT_X86_64_UNWIND. */
		if (header.sh_type == SHT_NOBITS || (header.sh_flags & SHF_COMPRESSED) ||
		    header.sh_name + name_bytes > names.sh_size)
			continue;
		if (!sp_elf_read_file(fd, names.sh_offset + header.sh_name, found,
				      name_bytes) ||
		    memcmp(found, name, name_bytes) != 0)
			continue;
		section->address = header.sh_flags & SHF_ALLOC ? header.sh_addr : 0;
		section->file_offset = header.sh_offset;
		section->size_bytes = header.sh_size;
		return true;
	}
	return false;
}
