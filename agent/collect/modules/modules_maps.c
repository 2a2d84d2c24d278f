/*
 * Reads the list of mappings by raw system calls through one buffer that any line
 * fits into. Context: collector. A line that cannot be understood is left out; it
 * never ends the reading.
 */
#include "modules_maps.h"

#include "sp_compiler.h"
#include "sp_heap.h"
#include "sp_syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A path has at most 4,096 bytes, each written as four at worst. */
#define BUFFER_BYTES ((size_t)32 << 10)
#define MAPS_MAX 200000U
#define PATHS_BYTES_MAX (16U << 20)

static const char deleted_suffix[] = " (deleted)";

struct text {
	const char *at, *end;
};

static uint64_t read_number(struct text *text, unsigned int base)
{
	uint64_t value = 0;

	for (; text->at < text->end; text->at++) {
		char c = *text->at;
		unsigned int digit = c >= '0' && c <= '9'   ? (unsigned int)(c - '0')
				     : c >= 'a' && c <= 'f' ? (unsigned int)(c - 'a') + 10
							    : base;

		if (digit >= base)
			break;
		value = value * base + digit;
	}
	return value;
}

static bool skip_char(struct text *text, char c)
{
	if (text->at == text->end || *text->at != c)
		return false;
	text->at++;
	return true;
}

static void skip_spaces(struct text *text)
{
	while (text->at < text->end && *text->at == ' ')
		text->at++;
}

/* "start-end perms offset major:minor inode   path" */
static bool parse_line(struct text *line, struct sp_map *map)
{
	uint64_t major;

	map->start = read_number(line, 16);
	if (!skip_char(line, '-'))
		return false;
	map->end = read_number(line, 16);
	if (!skip_char(line, ' ') || line->end - line->at < 5)
		return false;
	map->is_readable = line->at[0] == 'r';
	map->is_executable = line->at[2] == 'x';
	line->at += 4;
	if (!skip_char(line, ' '))
		return false;
	map->file_offset = read_number(line, 16);
	if (!skip_char(line, ' '))
		return false;
	major = read_number(line, 16);
	if (!skip_char(line, ':'))
		return false;
	map->device = major << 32 | read_number(line, 16);
	if (!skip_char(line, ' '))
		return false;
	map->inode = read_number(line, 10);
	skip_spaces(line);
	return map->start < map->end;
}

/* Makes room for count more elements; false when memory is short or it is enough. */
static bool grow(void **array, uint32_t used, uint32_t *capacity, uint32_t count,
		 size_t element_bytes, uint32_t capacity_max)
{
	uint32_t wanted = *capacity ? *capacity : 256;
	void *bigger;

	if (used + count <= *capacity)
		return true;
	while (wanted < used + count)
		wanted *= 2;
	if (used + count > capacity_max)
		return false;
	bigger = sp_heap_realloc(*array, wanted * element_bytes);
	if (!bigger)
		return false;
	*array = bigger;
	*capacity = wanted;
	return true;
}

/* The kernel writes a newline in a path as \012 and nothing else so. */
static uint32_t decode_path(const struct text *path, char *out)
{
	uint32_t used = 0;

	for (const char *at = path->at; at < path->end; at++) {
		if (path->end - at >= 4 && memcmp(at, "\\012", 4) == 0) {
			out[used++] = '\n';
			at += 3;
		} else {
			out[used++] = *at;
		}
	}
	return used;
}

static bool add_path(struct sp_maps *maps, const struct text *path, uint32_t *offset)
{
	size_t suffix_bytes = sizeof(deleted_suffix) - 1;
	uint32_t room = (uint32_t)(path->end - path->at) + 1;
	uint32_t used;
	char *out;

	if (!grow((void **)&maps->paths, maps->paths_bytes, &maps->paths_capacity, room,
		  1, PATHS_BYTES_MAX))
		return false;
	out = maps->paths + maps->paths_bytes;
	used = decode_path(path, out);
	if (used >= suffix_bytes &&
	    memcmp(out + used - suffix_bytes, deleted_suffix, suffix_bytes) == 0)
		used -= (uint32_t)suffix_bytes;
	out[used] = '\0';
	*offset = maps->paths_bytes;
	maps->paths_bytes += used + 1;
	return true;
}

static bool is_wanted(const struct sp_map *map, const struct text *path)
{
	static const char vdso[] = "[vdso]";

	return map->inode != 0 || map->is_executable ||
	       ((size_t)(path->end - path->at) == sizeof(vdso) - 1 &&
		memcmp(path->at, vdso, sizeof(vdso) - 1) == 0);
}

/* False when memory is short. */
static bool add_line(struct sp_maps *maps, struct text line)
{
	struct sp_map map = {0};
	const struct sp_map *before = maps->count ? &maps->maps[maps->count - 1] : NULL;

	if (!parse_line(&line, &map) || !is_wanted(&map, &line))
		return true;
	/* Changed while it was read. */
	if (before && map.start < before->end)
		return true;
	if (!grow((void **)&maps->maps, maps->count, &maps->capacity, 1, sizeof(map),
		  MAPS_MAX))
		return false;
	before = maps->count ? &maps->maps[maps->count - 1] : NULL;
	if (before && before->inode == map.inode && before->device == map.device &&
	    map.inode)
		map.path = before->path;
	else if (line.at < line.end && !add_path(maps, &line, &map.path))
		return false;
	maps->maps[maps->count++] = map;
	return true;
}

static long read_some(int fd, char *buffer, size_t size_bytes)
{
	long got;

	do
		got = sp_syscall3(SYS_read, fd, buffer, size_bytes);
	while (got == -EINTR);
	return got;
}

static int read_lines(struct sp_maps *maps, int fd, char *buffer)
{
	size_t filled = 0;

	for (;;) {
		long got = read_some(fd, buffer + filled, BUFFER_BYTES - filled);
		const char *at = buffer, *newline;

		if (got < 0)
			return (int)got;
		if (got == 0)
			return 0;
		filled += (size_t)got;
		while ((newline = memchr(at, '\n', filled - (size_t)(at - buffer)))) {
			if (!add_line(maps, (struct text){at, newline}))
				return -ENOMEM;
			at = newline + 1;
		}
		filled -= (size_t)(at - buffer);
		if (filled == BUFFER_BYTES)
			filled = 0; /* no line of the kernel's is that long */
		memmove(buffer, at, filled);
	}
}

int sp_maps_read(struct sp_maps *maps, int fd)
{
	int err = -ENOMEM;
	char *buffer;

	maps->count = 0;
	maps->paths_bytes = 0;
	if (fd < 0)
		return fd;
	buffer = sp_heap_alloc(BUFFER_BYTES);
	if (!buffer ||
	    !grow((void **)&maps->paths, 0, &maps->paths_capacity, 1, 1, PATHS_BYTES_MAX))
		goto out;
	maps->paths[maps->paths_bytes++] = '\0';
	err = read_lines(maps, fd, buffer);
	if (err)
		maps->count = 0;
out:
	sp_heap_free(buffer);
	sp_syscall1(SYS_close, fd);
	return err;
}

void sp_maps_free(struct sp_maps *maps)
{
	sp_heap_free(maps->maps);
	sp_heap_free(maps->paths);
	*maps = (struct sp_maps){0};
}
