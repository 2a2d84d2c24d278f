/*
 * A module's headers as one number. Context: signal. Invariant: it depends on nothing but
 * the bytes given, so that it can be compared across processes and machines.
 */
#include "sp_elf_fingerprint.h"

#include <stddef.h>
#include <string.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

/* By words: each object that a program begins with is read twice. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size_bytes)
{
	const uint8_t *bytes = data;
	size_t done = 0;
	uint64_t word;

	for (; size_bytes - done >= sizeof(word); done += sizeof(word)) {
		memcpy(&word, bytes + done, sizeof(word));
		hash = (hash ^ word) * FNV_PRIME;
		hash ^= hash >> 32;
	}
	for (; done < size_bytes; done++)
		hash = (hash ^ bytes[done]) * FNV_PRIME;
	return hash;
}

uint64_t sp_elf_fingerprint(const Elf64_Ehdr *elf, const Elf64_Phdr *headers,
			    uint32_t header_count, const uint8_t *build_id,
			    uint32_t build_id_bytes)
{
	uint64_t hash = hash_bytes(FNV_START, elf, sizeof(*elf));

	hash = hash_bytes(hash, headers, header_count * sizeof(*headers));
	if (build_id_bytes)
		hash = hash_bytes(hash, build_id, build_id_bytes);
	return hash ? hash : 1;
}
