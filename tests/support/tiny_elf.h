/*
 * A small ELF file put together in memory, so that tests can say exactly which
 * symbols, unwind entries and build id it has. Addresses are file offsets.
 */
#ifndef TINY_ELF_H
#define TINY_ELF_H

#include <check.h>
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TINY_TEXT UINT64_C(0x2000)
#define TINY_TEXT_BYTES UINT64_C(0x1000)
#define TINY_BYTES UINT64_C(0x3000)

enum tiny_section {
	TINY_NULL,
	TINY_SECTION_TEXT,
	TINY_SECTION_SYMTAB,
	TINY_SECTION_STRTAB,
	TINY_SECTION_NOTE,
	TINY_SECTION_LINK,
	TINY_SECTION_NAMES,
	TINY_SECTION_COUNT
};

struct tiny_elf {
	uint8_t bytes[TINY_BYTES];
	uint32_t symbol_count, strings_bytes, fde_count;
};

#define TINY_SECTIONS UINT64_C(0x100)
#define TINY_NOTE UINT64_C(0x400)
#define TINY_LINK UINT64_C(0x440)
#define TINY_NAMES UINT64_C(0x480)
#define TINY_HDR UINT64_C(0x500)
#define TINY_FRAMES UINT64_C(0x800)
#define TINY_SYMBOLS UINT64_C(0xc00)
#define TINY_STRINGS UINT64_C(0x1800)
#define TINY_FUNCTION ELF64_ST_INFO(STB_GLOBAL, STT_FUNC)

static inline Elf64_Shdr *tiny_section(struct tiny_elf *elf, enum tiny_section which)
{
	return (Elf64_Shdr *)(void *)(elf->bytes + TINY_SECTIONS) + which;
}

static inline Elf64_Sym *tiny_symbol(struct tiny_elf *elf, uint32_t index)
{
	return (Elf64_Sym *)(void *)(elf->bytes + TINY_SYMBOLS) + index;
}

static inline void tiny_init(struct tiny_elf *elf)
{
	static const char names[] = "\0.gnu_debuglink\0";
	Elf64_Ehdr *header = (Elf64_Ehdr *)(void *)elf->bytes;
	Elf64_Phdr *program = (Elf64_Phdr *)(void *)(elf->bytes + sizeof(*header));
	/* CIE: length, id, version 1, "zR", alignments, column 16, pcrel sdata4 */
	static const uint8_t cie[] = {20, 0,	0,  0, 0,    0, 0, 0, 1, 'z', 'R', 0,
				      1,  0x78, 16, 1, 0x1b, 0, 0, 0, 0, 0,   0,   0};

	memset(elf, 0, sizeof(*elf));
	memcpy(header->e_ident, ELFMAG, SELFMAG);
	header->e_ident[EI_CLASS] = ELFCLASS64;
	header->e_ident[EI_DATA] = ELFDATA2LSB;
	header->e_ident[EI_VERSION] = EV_CURRENT;
	header->e_type = ET_DYN;
	header->e_machine = EM_X86_64;
	header->e_version = EV_CURRENT;
	header->e_phoff = sizeof(*header);
	header->e_phentsize = sizeof(*program);
	header->e_phnum = 2;
	header->e_shoff = TINY_SECTIONS;
	header->e_shentsize = sizeof(Elf64_Shdr);
	header->e_shnum = TINY_SECTION_COUNT;
	header->e_shstrndx = TINY_SECTION_NAMES;
	program[0] = (Elf64_Phdr){.p_type = PT_LOAD,
				  .p_flags = PF_R | PF_X,
				  .p_filesz = TINY_BYTES,
				  .p_memsz = TINY_BYTES};
	program[1] = (Elf64_Phdr){.p_type = PT_GNU_EH_FRAME,
				  .p_offset = TINY_HDR,
				  .p_vaddr = TINY_HDR,
				  .p_filesz = 12,
				  .p_memsz = 12};
	*tiny_section(elf, TINY_SECTION_TEXT) =
		(Elf64_Shdr){.sh_type = SHT_PROGBITS,
			     .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
			     .sh_addr = TINY_TEXT,
			     .sh_offset = TINY_TEXT,
			     .sh_size = TINY_TEXT_BYTES};
	*tiny_section(elf, TINY_SECTION_SYMTAB) =
		(Elf64_Shdr){.sh_type = SHT_SYMTAB,
			     .sh_offset = TINY_SYMBOLS,
			     .sh_size = sizeof(Elf64_Sym),
			     .sh_link = TINY_SECTION_STRTAB,
			     .sh_entsize = sizeof(Elf64_Sym)};
	*tiny_section(elf, TINY_SECTION_STRTAB) = (Elf64_Shdr){
		.sh_type = SHT_STRTAB, .sh_offset = TINY_STRINGS, .sh_size = 1};
	*tiny_section(elf, TINY_SECTION_NAMES) = (Elf64_Shdr){
		.sh_type = SHT_STRTAB, .sh_offset = TINY_NAMES, .sh_size = sizeof(names)};
	memcpy(elf->bytes + TINY_NAMES, names, sizeof(names));
	memcpy(elf->bytes + TINY_FRAMES, cie, sizeof(cie));
	memcpy(elf->bytes + TINY_HDR, (uint8_t[]){1, 0x1b, 3, 0x3b}, 4);
	elf->symbol_count = 1;
	elf->strings_bytes = 1;
}

static inline void tiny_add(struct tiny_elf *elf, const char *name, uint64_t value,
			    uint64_t size_bytes, int info)
{
	size_t name_bytes = strlen(name) + 1;

	*tiny_symbol(elf, elf->symbol_count++) =
		(Elf64_Sym){.st_name = elf->strings_bytes,
			    .st_value = value,
			    .st_size = size_bytes,
			    .st_info = (unsigned char)info,
			    .st_shndx = TINY_SECTION_TEXT};
	memcpy(elf->bytes + TINY_STRINGS + elf->strings_bytes, name, name_bytes);
	elf->strings_bytes += (uint32_t)name_bytes;
	tiny_section(elf, TINY_SECTION_SYMTAB)->sh_size += sizeof(Elf64_Sym);
	tiny_section(elf, TINY_SECTION_STRTAB)->sh_size = elf->strings_bytes;
}

/* In order of start: the index is written as given. */
static __attribute__((noinline, unused)) void
tiny_add_fde(struct tiny_elf *elf, uint64_t start, uint32_t size_bytes)
{
	uint64_t at = TINY_FRAMES + 24 + elf->fde_count * 24;
	uint32_t fde[5] = {20, (uint32_t)(at + 4 - TINY_FRAMES),
			   (uint32_t)(start - at - 8), size_bytes, 0};
	uint32_t entry[2] = {(uint32_t)(start - TINY_HDR), (uint32_t)(at - TINY_HDR)};
	Elf64_Phdr *program = (Elf64_Phdr *)(void *)(elf->bytes + sizeof(Elf64_Ehdr));

	ck_assert_uint_lt(elf->fde_count, 40);
	memcpy(elf->bytes + at, fde, sizeof(fde));
	memcpy(elf->bytes + TINY_HDR + 12 + elf->fde_count * 8, entry, sizeof(entry));
	elf->fde_count++;
	memcpy(elf->bytes + TINY_HDR + 8, &elf->fde_count, sizeof(elf->fde_count));
	program[1].p_filesz += sizeof(entry);
}

static inline void tiny_set_build_id(struct tiny_elf *elf, const uint8_t *id,
				     uint32_t count)
{
	uint32_t head[3] = {4, count, NT_GNU_BUILD_ID};

	memcpy(elf->bytes + TINY_NOTE, head, sizeof(head));
	memcpy(elf->bytes + TINY_NOTE + 12, "GNU", 4);
	memcpy(elf->bytes + TINY_NOTE + 16, id, count);
	*tiny_section(elf, TINY_SECTION_NOTE) = (Elf64_Shdr){
		.sh_type = SHT_NOTE, .sh_offset = TINY_NOTE, .sh_size = 16 + count};
}

static inline void tiny_set_link(struct tiny_elf *elf, const char *name, uint32_t crc)
{
	size_t crc_at = (strlen(name) + 4) & ~(size_t)3;

	memcpy(elf->bytes + TINY_LINK, name, strlen(name));
	memcpy(elf->bytes + TINY_LINK + crc_at, &crc, sizeof(crc));
	*tiny_section(elf, TINY_SECTION_LINK) = (Elf64_Shdr){.sh_name = 1,
							     .sh_type = SHT_PROGBITS,
							     .sh_offset = TINY_LINK,
							     .sh_size = crc_at + 4};
}

static inline void write_file(const char *path, const void *bytes, size_t size_bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, size_bytes), (ssize_t)size_bytes);
	close(fd);
}

#endif
