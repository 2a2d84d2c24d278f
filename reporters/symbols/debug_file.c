/*
 * Looks up separate debug files in the places gdb and elfutils look. Runs on the
 * reporter thread. Invariant: a file is used only when it proves that it
 * belongs to the code that ran.
 */
#include "sp_debug_file.h"

#include "sp_heap.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define CHECKSUM_WINDOW_BYTES ((size_t)65536)
/* Checksums of larger files take longer than names are worth. */
#define CHECKSUM_FILE_BYTES_MAX (UINT64_C(64) << 20)

/* A path put together piece by piece; too long is remembered. */
struct path {
	char text[PATH_MAX];
	size_t length;
	bool is_too_long;
};

static void add(struct path *path, const char *text, size_t length)
{
	if (length >= sizeof(path->text) - path->length) {
		path->is_too_long = true;
		return;
	}
	memcpy(path->text + path->length, text, length);
	path->length += length;
	path->text[path->length] = '\0';
}

static void add_string(struct path *path, const char *text)
{
	add(path, text, strlen(text));
}

static void add_hex(struct path *path, const uint8_t *bytes, uint32_t count)
{
	static const char digits[] = "0123456789abcdef";

	for (uint32_t i = 0; i < count; i++) {
		char pair[2] = {digits[bytes[i] >> 4], digits[bytes[i] & 15]};

		add(path, pair, sizeof(pair));
	}
}

static int open_by_build_id(struct sp_elf_file *file, const char *root,
			    const struct sp_debug_wanted *wanted, struct path *path)
{
	int err;

	if (wanted->build_id_bytes < 2)
		return -ENOENT;
	*path = (struct path){0};
	add_string(path, root);
	add_string(path, "/.build-id/");
	add_hex(path, wanted->build_id, 1);
	add_string(path, "/");
	add_hex(path, wanted->build_id + 1, wanted->build_id_bytes - 1);
	add_string(path, ".debug");
	if (path->is_too_long)
		return -ENAMETOOLONG;
	err = sp_elf_open(file, path->text);
	if (err)
		return err;
	if (sp_elf_has_build_id(file, wanted->build_id, wanted->build_id_bytes))
		return 0;
	sp_elf_close(file);
	return -ENOENT;
}

/* CRC-32 as in zip and gzip, four bits at a time. */
static bool has_checksum(const struct sp_elf_file *file, uint32_t wanted)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
	uint8_t *bytes;
	uint32_t crc = UINT32_MAX;
	uint64_t done = 0;

	if (file->size_bytes > CHECKSUM_FILE_BYTES_MAX)
		return false;
	bytes = sp_heap_alloc(CHECKSUM_WINDOW_BYTES);
	if (!bytes)
		return false;
	while (done < file->size_bytes) {
		long count = sp_elf_read(file, done, bytes, CHECKSUM_WINDOW_BYTES);

		if (count <= 0)
			break;
		for (long i = 0; i < count; i++) {
			crc ^= bytes[i];
			crc = crc >> 4 ^ table[crc & 15];
			crc = crc >> 4 ^ table[crc & 15];
		}
		done += (uint64_t)count;
	}
	sp_heap_free(bytes);
	return done == file->size_bytes && ~crc == wanted;
}

static bool belongs(const struct sp_elf_file *file, const struct sp_debug_wanted *wanted)
{
	if (wanted->build_id_bytes > 0 && file->build_id_bytes > 0)
		return sp_elf_has_build_id(file, wanted->build_id,
					   wanted->build_id_bytes);
	return has_checksum(file, wanted->link_crc);
}

/* before + directory of the stripped file + between + linked name */
static int open_by_link(struct sp_elf_file *file, const char *before, const char *between,
			const struct sp_debug_wanted *wanted, struct path *path)
{
	const char *slash = strrchr(wanted->path, '/');
	int err;

	if (!slash)
		return -ENOENT;
	*path = (struct path){0};
	add_string(path, before);
	add(path, wanted->path, (size_t)(slash - wanted->path));
	add_string(path, between);
	add_string(path, wanted->link);
	if (path->is_too_long)
		return -ENAMETOOLONG;
	/* A link that names the file itself is an old habit of some packagers. */
	if (strcmp(path->text, wanted->path) == 0)
		return -ENOENT;
	err = sp_elf_open(file, path->text);
	if (err)
		return err;
	if (belongs(file, wanted))
		return 0;
	sp_elf_close(file);
	return -ENOENT;
}

int sp_debug_file_open(struct sp_elf_file *file, const char *root,
		       const struct sp_debug_wanted *wanted)
{
	struct path *path = sp_heap_alloc(sizeof(*path));
	int err;

	if (!path)
		return -ENOMEM;
	err = open_by_build_id(file, root, wanted, path);
	if (err && wanted->link[0] != '\0' && wanted->path) {
		err = open_by_link(file, "", "/", wanted, path);
		if (err)
			err = open_by_link(file, "", "/.debug/", wanted, path);
		if (err)
			err = open_by_link(file, root, "/", wanted, path);
	}
	sp_heap_free(path);
	return err;
}
