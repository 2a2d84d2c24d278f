/*
 * Opens ELF files and finds the few parts the symboliser needs: symbol tables,
 * code sections, segments, build id, debug link. Runs on the reporter thread.
 * Invariant: no offset or size from the file is used before it was compared with
 * the size of the file, and all counts have a ceiling.
 */
#include "sp_elf_file.h"

#include "sp_elf_fingerprint.h"
#include "sp_heap.h"
#include "sp_process_identity.h"
#include "sp_syscall.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* What damaged files may cost us at most. */
#define SECTIONS_MAX UINT64_C(65536)
#define PROGRAM_HEADERS_MAX 512
#define NOTE_BYTES_MAX UINT64_C(65536)
#define HEADER_WINDOW_BYTES ((size_t)16384)
#define FIRST_NAME_BYTES ((size_t)256)
#define KEPT_NAMES_BYTES_MAX (UINT64_C(4) << 20)
/* To read so many bytes more, into memory that is fresh, takes as long as a call for one
 * name; two or three addresses share one. */
#define NAME_WORTH_BYTES UINT64_C(512)

long sp_elf_read(const struct sp_elf_file *file, uint64_t offset, void *bytes,
		 size_t size_bytes)
{
	size_t done = 0;

	if (offset >= file->size_bytes)
		return 0;
	if (size_bytes > file->size_bytes - offset)
		size_bytes = (size_t)(file->size_bytes - offset);
	while (done < size_bytes) {
		long count = sp_syscall4(SYS_pread64, file->fd, (uint8_t *)bytes + done,
					 size_bytes - done,
					 file->image_offset + offset + done);

		if (count == -EINTR)
			continue;
		if (count < 0)
			return done > 0 ? (long)done : count;
		if (count == 0)
			break;
		done += (size_t)count;
	}
	return (long)done;
}

int sp_elf_window_open(struct sp_elf_window *window, const struct sp_elf_file *file,
		       size_t capacity_bytes)
{
	*window = (struct sp_elf_window){.file = file, .capacity_bytes = capacity_bytes};
	window->bytes = sp_heap_alloc(capacity_bytes);
	return window->bytes ? 0 : -ENOMEM;
}

void sp_elf_window_close(struct sp_elf_window *window)
{
	sp_heap_free(window->bytes);
	window->bytes = NULL;
}

const void *sp_elf_window_at(struct sp_elf_window *window, uint64_t offset,
			     size_t size_bytes)
{
	long count;

	if (offset >= window->start && offset - window->start <= window->length_bytes &&
	    size_bytes <= window->length_bytes - (offset - window->start))
		return window->bytes + (offset - window->start);
	if (size_bytes > window->capacity_bytes)
		return NULL;
	window->length_bytes = 0;
	count = sp_elf_read(window->file, offset, window->bytes, window->capacity_bytes);
	if (count < 0)
		return NULL;
	window->start = offset;
	window->length_bytes = (size_t)count;
	return size_bytes <= window->length_bytes ? window->bytes : NULL;
}

bool sp_elf_locate(const struct sp_elf_file *file, uint64_t address, uint64_t size_bytes,
		   uint64_t *offset)
{
	for (uint32_t i = 0; i < file->segment_count; i++) {
		const struct sp_elf_segment *segment = &file->segments[i];

		if (address < segment->address ||
		    address - segment->address > segment->size_bytes ||
		    size_bytes > segment->size_bytes - (address - segment->address))
			continue;
		*offset = segment->offset + (address - segment->address);
		return true;
	}
	return false;
}

bool sp_elf_has_build_id(const struct sp_elf_file *file, const uint8_t *build_id,
			 uint32_t build_id_bytes)
{
	return file->build_id_bytes > 0 && file->build_id_bytes == build_id_bytes &&
	       memcmp(file->build_id, build_id, build_id_bytes) == 0;
}

bool sp_elf_has_fingerprint(const struct sp_elf_file *file, uint64_t fingerprint)
{
	Elf64_Phdr headers[SP_ELF_FINGERPRINT_HEADERS_MAX];
	Elf64_Ehdr elf;
	size_t bytes;

	if (sp_elf_read(file, 0, &elf, sizeof(elf)) != (long)sizeof(elf) ||
	    elf.e_phentsize != sizeof(headers[0]) ||
	    elf.e_phnum > SP_ELF_FINGERPRINT_HEADERS_MAX)
		return false;
	bytes = elf.e_phnum * sizeof(headers[0]);
	return sp_elf_read(file, elf.e_phoff, headers, bytes) == (long)bytes &&
	       sp_elf_fingerprint(&elf, headers, elf.e_phnum, NULL, 0) == fingerprint;
}

const struct sp_elf_range *sp_elf_code_around(const struct sp_elf_file *file,
					      uint64_t address)
{
	for (uint32_t i = 0; i < file->code_count; i++) {
		const struct sp_elf_range *range = &file->code[i];

		if (address >= range->start && address < range->end)
			return range;
	}
	return NULL;
}

void sp_elf_keep_names(const struct sp_elf_file *file, struct sp_elf_table *table,
		       size_t wanted_names)
{
	long count;

	if (table->kept_strings || table->strings_bytes == 0 ||
	    table->strings_bytes > KEPT_NAMES_BYTES_MAX ||
	    table->strings_bytes / NAME_WORTH_BYTES > wanted_names)
		return;
	table->kept_strings = sp_heap_alloc((size_t)table->strings_bytes);
	if (!table->kept_strings)
		return;
	count = sp_elf_read(file, table->strings_offset, table->kept_strings,
			    (size_t)table->strings_bytes);
	/* What a shrunken file has lost is not there either way. */
	table->strings_bytes = count > 0 ? (uint64_t)count : 0;
}

/* Bytes at an offset of the strings, as many as there are up to wanted; 0 for none. */
static size_t read_strings(const struct sp_elf_file *file,
			   const struct sp_elf_table *table, uint64_t offset, char *bytes,
			   size_t wanted)
{
	long count;

	if (table->kept_strings) {
		const char *kept = table->kept_strings + offset;
		const char *end = memchr(kept, '\0', wanted);

		if (end)
			wanted = (size_t)(end - kept) + 1;
		memcpy(bytes, kept, wanted);
		return wanted;
	}
	count = sp_elf_read(file, table->strings_offset + offset, bytes, wanted);
	return count > 0 ? (size_t)count : 0;
}

bool sp_elf_read_name(const struct sp_elf_file *file, const struct sp_elf_table *table,
		      uint64_t name_offset, char *name, size_t name_bytes)
{
	size_t room, wanted, count, length;

	if (name_offset >= table->strings_bytes || name_bytes < 2)
		return false;
	room = name_bytes - 1;
	if (table->strings_bytes - name_offset < room)
		room = (size_t)(table->strings_bytes - name_offset);

	/* Nearly every name fits in the first short read. */
	wanted = room < FIRST_NAME_BYTES ? room : FIRST_NAME_BYTES;
	count = read_strings(file, table, name_offset, name, wanted);
	length = strnlen(name, count);
	if (length == wanted && room > length) {
		count = read_strings(file, table, name_offset + length, name + length,
				     room - length);
		length += strnlen(name + length, count);
	}
	/* A name cut by our own limit is kept; one that runs out of its table is
	 * damage. */
	if (length == room && room < name_bytes - 1)
		return false;
	name[length] = '\0';
	return length > 0;
}

/* Part of a section or segment that really is in the file. */
static uint64_t bytes_in_file(const struct sp_elf_file *file, uint64_t offset,
			      uint64_t size_bytes)
{
	if (offset >= file->size_bytes)
		return 0;
	return size_bytes < file->size_bytes - offset ? size_bytes
						      : file->size_bytes - offset;
}

void sp_elf_read_build_id(struct sp_elf_file *file, struct sp_elf_window *window,
			  uint64_t offset, uint64_t size_bytes)
{
	uint64_t at = 0;

	size_bytes = bytes_in_file(file, offset, size_bytes);
	if (size_bytes > NOTE_BYTES_MAX)
		size_bytes = NOTE_BYTES_MAX;
	while (file->build_id_bytes == 0 && size_bytes - at >= sizeof(Elf64_Nhdr)) {
		const uint8_t *bytes =
			sp_elf_window_at(window, offset + at, sizeof(Elf64_Nhdr));
		uint64_t name_at = at + sizeof(Elf64_Nhdr), id_at;
		Elf64_Nhdr note;

		if (!bytes)
			return;
		memcpy(&note, bytes, sizeof(note));
		id_at = name_at + (((uint64_t)note.n_namesz + 3) & ~UINT64_C(3));
		at = id_at + (((uint64_t)note.n_descsz + 3) & ~UINT64_C(3));
		if (at > size_bytes)
			return;
		if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 ||
		    note.n_descsz == 0 || note.n_descsz > sizeof(file->build_id))
			continue;
		bytes = sp_elf_window_at(window, offset + name_at, 4 + note.n_descsz);
		if (!bytes || memcmp(bytes, "GNU", 4) != 0)
			continue;
		memcpy(file->build_id, bytes + 4, note.n_descsz);
		file->build_id_bytes = note.n_descsz;
	}
}

static void read_program_headers(struct sp_elf_file *file, struct sp_elf_window *window,
				 const Elf64_Ehdr *header)
{
	if (header->e_phentsize != sizeof(Elf64_Phdr))
		return;
	for (uint64_t i = 0; i < header->e_phnum && i < PROGRAM_HEADERS_MAX; i++) {
		const void *bytes;
		struct sp_elf_segment segment;
		Elf64_Phdr program;

		if (header->e_phoff >= file->size_bytes)
			return;
		bytes = sp_elf_window_at(window, header->e_phoff + i * sizeof(program),
					 sizeof(program));
		if (!bytes)
			return;
		memcpy(&program, bytes, sizeof(program));
		segment.address = program.p_vaddr;
		segment.offset = program.p_offset;
		segment.size_bytes =
			bytes_in_file(file, program.p_offset, program.p_filesz);
		if (segment.size_bytes == 0)
			continue;
		if (program.p_type == PT_LOAD &&
		    file->segment_count < SP_ELF_SEGMENTS_MAX)
			file->segments[file->segment_count++] = segment;
		else if (program.p_type == PT_GNU_EH_FRAME)
			file->eh_frame_hdr = segment;
		else if (program.p_type == PT_NOTE)
			sp_elf_read_build_id(file, window, segment.offset,
					     segment.size_bytes);
	}
}

/* One section header; false when it is not in the file. */
static bool read_section(const struct sp_elf_file *file, struct sp_elf_window *window,
			 const Elf64_Ehdr *header, uint64_t index, Elf64_Shdr *section)
{
	const void *bytes;

	if (header->e_shoff >= file->size_bytes)
		return false;
	bytes = sp_elf_window_at(window, header->e_shoff + index * sizeof(*section),
				 sizeof(*section));
	if (!bytes)
		return false;
	memcpy(section, bytes, sizeof(*section));
	return true;
}

static void set_table(struct sp_elf_file *file, struct sp_elf_window *window,
		      const Elf64_Ehdr *header, uint64_t section_count,
		      const Elf64_Shdr *symbols, struct sp_elf_table *table)
{
	Elf64_Shdr strings;

	if (table->symbol_count > 0 || symbols->sh_entsize != sizeof(Elf64_Sym) ||
	    symbols->sh_link >= section_count ||
	    !read_section(file, window, header, symbols->sh_link, &strings) ||
	    strings.sh_type != SHT_STRTAB)
		return;
	table->symbols_offset = symbols->sh_offset;
	table->symbol_count = bytes_in_file(file, symbols->sh_offset, symbols->sh_size) /
			      sizeof(Elf64_Sym);
	table->strings_offset = strings.sh_offset;
	table->strings_bytes = bytes_in_file(file, strings.sh_offset, strings.sh_size);
}

static void add_code_range(struct sp_elf_file *file, const Elf64_Shdr *section)
{
	if (section->sh_size == 0 || section->sh_addr > UINT64_MAX - section->sh_size ||
	    file->code_count == SP_ELF_CODE_RANGES_MAX)
		return;
	file->code[file->code_count++] = (struct sp_elf_range){
		section->sh_addr, section->sh_addr + section->sh_size};
}

/* .gnu_debuglink: file name, NUL, up to a multiple of 4, CRC-32 of the file. */
static void read_debug_link(struct sp_elf_file *file, const Elf64_Shdr *section)
{
	char bytes[SP_ELF_DEBUG_LINK_BYTES + 8] = {0};
	size_t name_bytes, crc_at;
	long count;

	if (section->sh_size > sizeof(bytes))
		return;
	count = sp_elf_read(file, section->sh_offset, bytes, (size_t)section->sh_size);
	if (count < 0 || (uint64_t)count != section->sh_size)
		return;
	name_bytes = strnlen(bytes, (size_t)count);
	crc_at = (name_bytes + 4) & ~(size_t)3;
	if (name_bytes == 0 || name_bytes >= SP_ELF_DEBUG_LINK_BYTES ||
	    crc_at + 4 > (size_t)count || memchr(bytes, '/', name_bytes))
		return;
	memcpy(file->debug_link, bytes, name_bytes + 1);
	memcpy(&file->debug_link_crc, bytes + crc_at, sizeof(file->debug_link_crc));
}

static bool is_debug_link(const struct sp_elf_file *file, const Elf64_Shdr *names,
			  const Elf64_Shdr *section)
{
	static const char wanted[] = ".gnu_debuglink";
	char name[sizeof(wanted)];

	if (section->sh_type != SHT_PROGBITS || (section->sh_flags & SHF_ALLOC) ||
	    names->sh_type != SHT_STRTAB || section->sh_name >= names->sh_size ||
	    names->sh_offset >= file->size_bytes)
		return false;
	return sp_elf_read(file, names->sh_offset + section->sh_name, name,
			   sizeof(name)) == (long)sizeof(name) &&
	       memcmp(name, wanted, sizeof(wanted)) == 0;
}

static void read_sections(struct sp_elf_file *file, struct sp_elf_window *window,
			  const Elf64_Ehdr *header)
{
	uint64_t count = header->e_shnum, names_index = header->e_shstrndx;
	Elf64_Shdr section, names = {0};

	if (header->e_shentsize != sizeof(Elf64_Shdr) || header->e_shoff == 0 ||
	    !read_section(file, window, header, 0, &section))
		return;
	/* Numbers too large for the header's 16 bits stand in section 0. */
	if (count == 0)
		count = section.sh_size;
	if (names_index == SHN_XINDEX)
		names_index = section.sh_link;
	if (count > SECTIONS_MAX)
		count = SECTIONS_MAX;
	if (names_index >= count ||
	    !read_section(file, window, header, names_index, &names))
		names.sh_type = SHT_NULL;

	for (uint64_t i = 1; i < count; i++) {
		if (!read_section(file, window, header, i, &section))
			return;
		if (section.sh_type == SHT_SYMTAB)
			set_table(file, window, header, count, &section, &file->symtab);
		else if (section.sh_type == SHT_DYNSYM)
			set_table(file, window, header, count, &section, &file->dynsym);
		else if (section.sh_type == SHT_NOTE && file->build_id_bytes == 0)
			sp_elf_read_build_id(file, window, section.sh_offset,
					     section.sh_size);
		else if ((section.sh_flags & (SHF_ALLOC | SHF_EXECINSTR)) ==
			 (SHF_ALLOC | SHF_EXECINSTR))
			add_code_range(file, &section);
		else if (is_debug_link(file, &names, &section))
			read_debug_link(file, &section);
	}
}

bool sp_elf_is_ours(const void *header)
{
	const Elf64_Ehdr *elf = header;

	return memcmp(elf->e_ident, ELFMAG, SELFMAG) == 0 &&
	       elf->e_ident[EI_CLASS] == ELFCLASS64 &&
	       elf->e_ident[EI_DATA] == ELFDATA2LSB && elf->e_machine == EM_X86_64;
}

/* Reads the headers of an opened file; closes it on failure. */
static int read_headers(struct sp_elf_file *file)
{
	struct sp_elf_window window;
	Elf64_Ehdr header;
	long count = sp_elf_read(file, 0, &header, sizeof(header));
	int err = 0;

	if (count < 0)
		err = (int)count;
	else if (count != (long)sizeof(header) || !sp_elf_is_ours(&header))
		err = -ENOEXEC;
	if (!err)
		err = sp_elf_window_open(&window, file, HEADER_WINDOW_BYTES);
	if (err) {
		sp_elf_close(file);
		return err;
	}
	/* Sections first: a debug file's program headers describe the file it was
	 * split from. */
	read_sections(file, &window, &header);
	read_program_headers(file, &window, &header);
	sp_elf_window_close(&window);
	return 0;
}

static int open_descriptor(struct sp_elf_file *file, long fd)
{
	struct stat info;
	long err;

	memset(file, 0, sizeof(*file));
	file->fd = -1;
	if (fd < 0)
		return (int)fd;
	file->fd = (int)fd;
	err = sp_syscall2(SYS_fstat, fd, &info);
	if (err == 0 && (!S_ISREG(info.st_mode) || info.st_size < 0))
		err = -EINVAL;
	if (err < 0) {
		sp_elf_close(file);
		return (int)err;
	}
	file->size_bytes = (uint64_t)info.st_size;
	return read_headers(file);
}

int sp_elf_open(struct sp_elf_file *file, const char *path)
{
	/* O_NONBLOCK: a FIFO at that path must not hold us up. */
	return open_descriptor(
		file, sp_syscall4(SYS_openat, AT_FDCWD, path,
				  O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0));
}

int sp_elf_open_program(struct sp_elf_file *file)
{
	return open_descriptor(file, sp_process_open("exe"));
}

int sp_elf_open_own_memory(struct sp_elf_file *file, uint64_t address,
			   uint64_t size_bytes)
{
	int fd = sp_process_open("mem");

	memset(file, 0, sizeof(*file));
	file->fd = -1;
	if (fd < 0)
		return fd;
	file->fd = fd;
	file->image_offset = address;
	file->size_bytes = size_bytes;
	return 0;
}

int sp_elf_open_memory(struct sp_elf_file *file, uint64_t address, uint64_t size_bytes)
{
	int err = sp_elf_open_own_memory(file, address, size_bytes);

	return err ? err : read_headers(file);
}

void sp_elf_close(struct sp_elf_file *file)
{
	sp_heap_free(file->symtab.kept_strings);
	sp_heap_free(file->dynsym.kept_strings);
	file->symtab.kept_strings = NULL;
	file->dynsym.kept_strings = NULL;
	if (file->fd >= 0)
		sp_syscall1(SYS_close, file->fd);
	file->fd = -1;
}
