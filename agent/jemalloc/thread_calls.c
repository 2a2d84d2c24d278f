/*
 * Not part of the agent: the build runs it on the private jemalloc. The archive has its
 * state of a thread, 2.6 KiB, in thread-local storage, which every thread of the program
 * would have to have. It asks for where that is in one way only, an instruction that
 * loads or adds the distance from the thread pointer:
 *
 *	mov je_tsd_tls@gottpoff(%rip), %reg	48 8b 05+8*reg ....	(4c from %r8 on)
 *	add je_tsd_tls@gottpoff(%rip), %reg	48 03 05+8*reg ....
 *
 * Each becomes a call of as many bytes, of the function for that register
 * (thread_calls.S), which changes no other. Whatever else refers to the state fails the
 * build. So does, in check-red-zone, a function that keeps something below its stack
 * pointer, where a call would overwrite it.
 */
#include <ar.h>
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE "je_tsd_tls"
/* Of the functions, one for each register, first those that load. */
#define FUNCTION_BYTES 32
#define REGISTERS 16
/* struct state (jemalloc_thread.c) has room for it. */
#define STATE_BYTES_MAX 4032

static const char *archive;
static unsigned int calls;

static void fail(const char *what)
{
	fprintf(stderr, "thread_calls: %s: %s\n", archive, what);
	exit(1);
}

/* place: where the instruction has its distance. */
static unsigned int make_call(unsigned char *place)
{
	static const unsigned char nop_and_call[] = {0x66, 0x90, 0xe8};
	unsigned char *instruction = place - sizeof(nop_and_call);
	unsigned int reg = instruction[2] >> 3 & 7;
	bool is_add = instruction[1] == 0x03;

	if ((instruction[0] != 0x48 && instruction[0] != 0x4c) ||
	    (instruction[1] != 0x8b && !is_add) || (instruction[2] & 0xc7) != 0x05)
		fail("an unknown instruction refers to " STATE);
	if (instruction[0] == 0x4c)
		reg += 8;
	memcpy(instruction, nop_and_call, sizeof(nop_and_call));
	calls++;
	return is_add ? REGISTERS + reg : reg;
}

/* Those of one section, to that symbol. */
static void edit_references(unsigned char *object, const Elf64_Shdr *references,
			    const Elf64_Shdr *section, uint64_t symbol)
{
	Elf64_Rela *rela = (void *)(object + references->sh_offset);

	for (uint64_t i = 0; i < references->sh_size / sizeof(*rela); i++) {
		unsigned int function;

		if (ELF64_R_SYM(rela[i].r_info) != symbol)
			continue;
		if (ELF64_R_TYPE(rela[i].r_info) != R_X86_64_GOTTPOFF ||
		    rela[i].r_addend != -4 || rela[i].r_offset < 3 ||
		    rela[i].r_offset + 4 > section->sh_size)
			fail("an unknown reference to " STATE);
		function = make_call(object + section->sh_offset + rela[i].r_offset);
		rela[i].r_info = ELF64_R_INFO(symbol, R_X86_64_PC32);
		rela[i].r_addend += (int64_t)function * FUNCTION_BYTES;
	}
}

/* Whoever defines it refers to the functions, too. 0: the object does not know it. */
static uint64_t edit_symbol(unsigned char *object, const Elf64_Shdr *table,
			    const Elf64_Shdr *names)
{
	Elf64_Sym *symbols = (void *)(object + table->sh_offset);

	for (uint64_t i = 1; i < table->sh_size / sizeof(*symbols); i++) {
		Elf64_Sym *symbol = &symbols[i];
		const char *name =
			(const char *)object + names->sh_offset + symbol->st_name;

		if (strcmp(name, STATE) != 0)
			continue;
		if (symbol->st_size > STATE_BYTES_MAX)
			fail("too large: " STATE);
		/* As it is, but of no type. */
		symbol->st_info &= (unsigned char)~0xfU;
		symbol->st_shndx = SHN_UNDEF;
		symbol->st_value = 0;
		symbol->st_size = 0;
		return i;
	}
	return 0;
}

static void edit_object(unsigned char *object)
{
	const Elf64_Ehdr *header = (void *)object;
	const Elf64_Shdr *sections = (void *)(object + header->e_shoff);
	uint64_t symbol = 0;

	for (unsigned int i = 0; i < header->e_shnum; i++)
		if (sections[i].sh_type == SHT_SYMTAB)
			symbol = edit_symbol(object, &sections[i],
					     &sections[sections[i].sh_link]);
	for (unsigned int i = 0; symbol && i < header->e_shnum; i++)
		if (sections[i].sh_type == SHT_RELA)
			edit_references(object, &sections[i],
					&sections[sections[i].sh_info], symbol);
}

/* Its objects lie on even addresses; they are copied to where an object may lie. */
static void edit_archive(unsigned char *bytes, size_t size_bytes)
{
	size_t at = SARMAG;

	if (size_bytes < SARMAG || memcmp(bytes, ARMAG, SARMAG) != 0)
		fail("no archive");
	while (at + sizeof(struct ar_hdr) <= size_bytes) {
		const struct ar_hdr *member = (void *)(bytes + at);
		size_t member_bytes = strtoul(member->ar_size, NULL, 10);
		unsigned char *object;

		at += sizeof(*member);
		if (member_bytes > size_bytes - at)
			fail("its end is missing");
		if (member_bytes > sizeof(Elf64_Ehdr) &&
		    memcmp(bytes + at, ELFMAG, SELFMAG) == 0) {
			object = malloc(member_bytes);
			if (!object)
				fail(strerror(errno));
			memcpy(object, bytes + at, member_bytes);
			edit_object(object);
			memcpy(bytes + at, object, member_bytes);
			free(object);
		}
		at += member_bytes + member_bytes % 2;
	}
}

int main(int argc, char **argv)
{
	unsigned char *bytes = NULL;
	long size_bytes = 0;
	FILE *file;

	if (argc != 2) {
		fprintf(stderr, "usage: thread_calls ARCHIVE\n");
		return 2;
	}
	archive = argv[1];
	file = fopen(archive, "r+b");
	if (!file || fseek(file, 0, SEEK_END) != 0 || (size_bytes = ftell(file)) < 0 ||
	    !(bytes = malloc((size_t)size_bytes + 1)) || fseek(file, 0, SEEK_SET) != 0 ||
	    fread(bytes, 1, (size_t)size_bytes, file) != (size_t)size_bytes)
		fail(strerror(errno));
	edit_archive(bytes, (size_t)size_bytes);
	if (!calls)
		fail("nothing refers to " STATE);
	if (fseek(file, 0, SEEK_SET) != 0 ||
	    fwrite(bytes, 1, (size_t)size_bytes, file) != (size_t)size_bytes ||
	    fclose(file) != 0)
		fail(strerror(errno));
	free(bytes);
	return 0;
}
