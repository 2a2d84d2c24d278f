/*
 * Opens a loaded module by what is in memory of it, for when its file is gone. The loader
 * keeps no section headers: symbols are found through the dynamic section, code through
 * the segments, and addresses serve as offsets. Runs on the reporter thread. Invariant:
 * as in elf_file.c; what is not mapped is a short read.
 */
#include "sp_elf_file.h"

#include "sp_syscall.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#define PROGRAM_HEADERS_MAX 64
#define IMAGE_BYTES_MAX (UINT64_C(1) << 32)
#define DYNAMIC_MAX 512
#define SYMBOLS_MAX (UINT64_C(1) << 24)
#define WINDOW_BYTES ((size_t)16384)

struct dynamic {
	uint64_t symbols, strings, strings_bytes, hash, gnu_hash; /* 0: none */
};

static bool read_at(const struct sp_elf_file *file, uint64_t offset, void *bytes,
		    size_t size_bytes)
{
	return sp_elf_read(file, offset, bytes, size_bytes) == (long)size_bytes;
}

/* The loader has made addresses of what the file has as offsets, mostly. */
static uint64_t offset_of(const struct sp_elf_file *file, uint64_t pointer)
{
	return pointer >= file->image_offset ? pointer - file->image_offset : pointer;
}

static void note_entry(const struct sp_elf_file *file, const Elf64_Dyn *entry,
		       struct dynamic *dynamic)
{
	switch (entry->d_tag) {
	case DT_SYMTAB:
		dynamic->symbols = offset_of(file, entry->d_un.d_ptr);
		break;
	case DT_STRTAB:
		dynamic->strings = offset_of(file, entry->d_un.d_ptr);
		break;
	case DT_STRSZ:
		dynamic->strings_bytes = entry->d_un.d_val;
		break;
	case DT_HASH:
		dynamic->hash = offset_of(file, entry->d_un.d_ptr);
		break;
	case DT_GNU_HASH:
		dynamic->gnu_hash = offset_of(file, entry->d_un.d_ptr);
		break;
	}
}

static void read_dynamic(const struct sp_elf_file *file, struct sp_elf_window *window,
			 uint64_t offset, struct dynamic *dynamic)
{
	for (uint64_t i = 0; i < DYNAMIC_MAX; i++) {
		const void *bytes;
		Elf64_Dyn entry;

		bytes = sp_elf_window_at(window, offset + i * sizeof(entry),
					 sizeof(entry));
		if (!bytes)
			return;
		memcpy(&entry, bytes, sizeof(entry));
		if (entry.d_tag == DT_NULL)
			return;
		note_entry(file, &entry, dynamic);
	}
}

/* The last symbol ends the chain of the bucket that begins last. */
static uint64_t count_by_gnu_hash(const struct sp_elf_file *file, uint64_t table)
{
	uint32_t head[4]; /* buckets, first symbol, words of the filter, its shift */
	uint64_t buckets, chains, last = 0;
	struct sp_elf_window window;
	const uint32_t *word;

	if (!read_at(file, table, head, sizeof(head)) ||
	    sp_elf_window_open(&window, file, WINDOW_BYTES) != 0)
		return 0;
	buckets = table + sizeof(head) + head[2] * sizeof(uint64_t);
	chains = buckets + head[0] * sizeof(*word);
	for (uint64_t i = 0; i < head[0] && i < SYMBOLS_MAX; i++) {
		word = sp_elf_window_at(&window, buckets + i * sizeof(*word),
					sizeof(*word));
		if (!word)
			break;
		last = *word > last ? *word : last;
	}
	for (; last >= head[1] && last < SYMBOLS_MAX; last++) {
		word = sp_elf_window_at(&window,
					chains + (last - head[1]) * sizeof(*word),
					sizeof(*word));
		if (!word || (*word & 1))
			break;
	}
	sp_elf_window_close(&window);
	return last < SYMBOLS_MAX ? last + 1 : 0;
}

static uint64_t count_symbols(const struct sp_elf_file *file,
			      const struct dynamic *dynamic)
{
	uint32_t head[2]; /* buckets, chains: one a symbol */

	if (dynamic->gnu_hash)
		return count_by_gnu_hash(file, dynamic->gnu_hash);
	if (dynamic->hash && read_at(file, dynamic->hash, head, sizeof(head)))
		return head[1] < SYMBOLS_MAX ? head[1] : 0;
	return 0;
}

static void set_table(struct sp_elf_file *file, const struct dynamic *dynamic)
{
	uint64_t room = file->size_bytes;

	if (!dynamic->symbols || dynamic->symbols >= room || !dynamic->strings ||
	    dynamic->strings >= room)
		return;
	file->dynsym.symbols_offset = dynamic->symbols;
	file->dynsym.symbol_count = count_symbols(file, dynamic);
	file->dynsym.strings_offset = dynamic->strings;
	room -= dynamic->strings;
	file->dynsym.strings_bytes =
		dynamic->strings_bytes < room ? dynamic->strings_bytes : room;
}

static void add_segment(struct sp_elf_file *file, const Elf64_Phdr *program)
{
	if (file->segment_count < SP_ELF_SEGMENTS_MAX)
		file->segments[file->segment_count++] = (struct sp_elf_segment){
			program->p_vaddr, program->p_vaddr, program->p_filesz};
	if ((program->p_flags & PF_X) && file->code_count < SP_ELF_CODE_RANGES_MAX)
		file->code[file->code_count++] = (struct sp_elf_range){
			program->p_vaddr, program->p_vaddr + program->p_filesz};
	if (program->p_vaddr + program->p_filesz > file->size_bytes)
		file->size_bytes = program->p_vaddr + program->p_filesz;
}

static bool is_within_reach(const Elf64_Phdr *program)
{
	return program->p_vaddr < IMAGE_BYTES_MAX && program->p_filesz < IMAGE_BYTES_MAX;
}

static void read_segments(struct sp_elf_file *file, const Elf64_Phdr *programs,
			  uint16_t count)
{
	struct sp_elf_window window;
	struct dynamic dynamic = {0};

	for (uint16_t i = 0; i < count; i++)
		if (programs[i].p_type == PT_LOAD && is_within_reach(&programs[i]))
			add_segment(file, &programs[i]);
	if (sp_elf_window_open(&window, file, WINDOW_BYTES) != 0)
		return;
	for (uint16_t i = 0; i < count; i++) {
		const Elf64_Phdr *program = &programs[i];

		if (!is_within_reach(program))
			continue;
		if (program->p_type == PT_NOTE)
			sp_elf_read_build_id(file, &window, program->p_vaddr,
					     program->p_filesz);
		else if (program->p_type == PT_GNU_EH_FRAME)
			file->eh_frame_hdr = (struct sp_elf_segment){
				program->p_vaddr, program->p_vaddr, program->p_filesz};
		else if (program->p_type == PT_DYNAMIC)
			read_dynamic(file, &window, program->p_vaddr, &dynamic);
	}
	sp_elf_window_close(&window);
	set_table(file, &dynamic);
}

int sp_elf_open_image(struct sp_elf_file *file, uint64_t address)
{
	Elf64_Phdr programs[PROGRAM_HEADERS_MAX];
	Elf64_Ehdr header;
	uint16_t count;
	int err =
		sp_elf_open_own_memory(file, address, sizeof(header) + sizeof(programs));

	if (err)
		return err;
	if (!read_at(file, 0, &header, sizeof(header)) || !sp_elf_is_ours(&header) ||
	    header.e_phoff != sizeof(header) ||
	    header.e_phentsize != sizeof(programs[0])) {
		sp_elf_close(file);
		return -ENOEXEC;
	}
	count = header.e_phnum < PROGRAM_HEADERS_MAX ? header.e_phnum
						     : PROGRAM_HEADERS_MAX;
	if (read_at(file, header.e_phoff, programs, count * sizeof(programs[0])))
		read_segments(file, programs, count);
	return 0;
}
