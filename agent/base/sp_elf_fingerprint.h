/*
 * Which build of a module it is, for those whose linker left no build id.
 */
#ifndef SP_ELF_FINGERPRINT_H
#define SP_ELF_FINGERPRINT_H

#include <elf.h>
#include <stdint.h>

/* Program headers; a module with more has no fingerprint. */
#define SP_ELF_FINGERPRINT_HEADERS_MAX 64

/*
 * Context: signal. Never 0. Of the headers, which are in the file as they are in memory:
 * they hold the size of each segment and where the file's sections begin, so that two
 * builds rarely have the same. The build id, if there is one, counts as well.
 */
uint64_t sp_elf_fingerprint(const Elf64_Ehdr *elf, const Elf64_Phdr *headers,
			    uint32_t header_count, const uint8_t *build_id,
			    uint32_t build_id_bytes);

#endif
