/*
 * Loads perf-PID.map in chunks into an array sorted by start, goes on from there
 * when the file has grown, and reads a name only when it is asked for. Runs on the
 * reporter thread. Invariant: the array is sorted by start with one entry for
 * each start, and every line handed out is read and checked again, since the file
 * is the runtime's to change.
 */
#include "sp_perf_map.h"

#include "sp_clock.h"
#include "sp_heap.h"
#include "sp_syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define READ_BYTES ((size_t)65536)
/* Number, number and the longest name kept. */
#define LINE_BYTES_MAX (SP_PERF_MAP_NAME_BYTES + 64)
#define ENTRIES_AT_FIRST ((size_t)1024)
#define ENTRIES_MAX (SP_PERF_MAP_BYTES_MAX / sizeof(struct entry))
/* Lines below an address that are looked at: older code that reaches over so many
 * starts of newer code is not found. */
#define OVERLAPS_MAX 1024

struct entry {
	uint64_t start, end;
	uint64_t line; /* its place in the file: later lines are newer code */
};

struct sp_perf_map {
	char directory[128];
	int pid;
	int fd;
	dev_t device;
	ino_t inode;
	uint64_t read_bytes; /* up to the end of the last whole line */
	uint64_t checked_ns;
	struct entry *entries;
	size_t count, capacity;
};

struct sp_perf_map *sp_perf_map_create(const char *directory)
{
	struct sp_perf_map *map = sp_heap_zalloc(sizeof(*map));
	size_t length = strlen(directory);

	if (!map || length >= sizeof(map->directory)) {
		sp_heap_free(map);
		return NULL;
	}
	memcpy(map->directory, directory, length + 1);
	map->fd = -1;
	return map;
}

static void forget(struct sp_perf_map *map)
{
	if (map->fd >= 0)
		sp_syscall1(SYS_close, map->fd);
	map->fd = -1;
	sp_heap_free(map->entries);
	map->entries = NULL;
	map->count = 0;
	map->capacity = 0;
	map->read_bytes = 0;
}

void sp_perf_map_destroy(struct sp_perf_map *map)
{
	if (!map)
		return;
	forget(map);
	sp_heap_free(map);
}

static long read_at(int fd, uint64_t offset, char *bytes, size_t size_bytes)
{
	size_t done = 0;

	while (done < size_bytes) {
		long count = sp_syscall4(SYS_pread64, fd, bytes + done, size_bytes - done,
					 offset + done);

		if (count == -EINTR)
			continue;
		if (count <= 0)
			break;
		done += (size_t)count;
	}
	return (long)done;
}

/* Hexadecimal, "0x" allowed; NULL when there is no number or it does not fit. */
static const char *parse_hex(const char *at, const char *end, uint64_t *number)
{
	const char *first;
	uint64_t value = 0;

	if (end - at > 2 && at[0] == '0' && (at[1] == 'x' || at[1] == 'X'))
		at += 2;
	for (first = at; at < end; at++) {
		char c = *at;
		uint64_t digit;

		if (c >= '0' && c <= '9')
			digit = (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (uint64_t)(c - 'a') + 10;
		else if (c >= 'A' && c <= 'F')
			digit = (uint64_t)(c - 'A') + 10;
		else
			break;
		if (value >> 60)
			return NULL;
		value = value << 4 | digit;
	}
	*number = value;
	return at > first ? at : NULL;
}

/* The name on a line, NULL when the line is none. end: of the line. */
static const char *parse_line(const char *line, const char *end, struct entry *entry)
{
	uint64_t size_bytes;
	const char *at = parse_hex(line, end, &entry->start);

	if (!at || at == end || *at != ' ')
		return NULL;
	at = parse_hex(at + 1, end, &size_bytes);
	if (!at || at == end || *at != ' ' || size_bytes == 0 ||
	    size_bytes > UINT64_MAX - entry->start)
		return NULL;
	entry->end = entry->start + size_bytes;
	while (at < end && *at == ' ')
		at++;
	return at < end ? at : NULL;
}

static bool add_entry(struct sp_perf_map *map, const struct entry *entry)
{
	if (map->count == map->capacity) {
		size_t capacity = map->capacity ? map->capacity * 2 : ENTRIES_AT_FIRST;
		struct entry *entries;

		if (capacity > ENTRIES_MAX)
			capacity = ENTRIES_MAX;
		if (capacity == map->capacity)
			return false;
		entries = sp_heap_realloc(map->entries, capacity * sizeof(*entries));
		if (!entries)
			return false;
		map->entries = entries;
		map->capacity = capacity;
	}
	map->entries[map->count++] = *entry;
	return true;
}

static bool comes_before(const struct entry *a, const struct entry *b)
{
	return a->start != b->start ? a->start < b->start : a->line < b->line;
}

static void sift_down(struct entry *entries, size_t root, size_t count)
{
	struct entry moved = entries[root];

	for (;;) {
		size_t child = root * 2 + 1;

		if (child >= count)
			break;
		if (child + 1 < count &&
		    comes_before(&entries[child], &entries[child + 1]))
			child++;
		if (!comes_before(&moved, &entries[child]))
			break;
		entries[root] = entries[child];
		root = child;
	}
	entries[root] = moved;
}

/* Heap sort: in place, without a bad case, and the C library's may allocate. */
static void sort(struct entry *entries, size_t count)
{
	bool is_sorted = true;

	for (size_t i = 1; i < count && is_sorted; i++)
		is_sorted = comes_before(&entries[i - 1], &entries[i]);
	if (is_sorted)
		return;
	for (size_t i = count / 2; i > 0; i--)
		sift_down(entries, i - 1, count);
	for (size_t i = count; i > 1; i--) {
		struct entry last = entries[i - 1];

		entries[i - 1] = entries[0];
		entries[0] = last;
		sift_down(entries, 0, i - 1);
	}
}

/* Brings the entries from old_count on, just read, to their places. */
static void merge_new(struct sp_perf_map *map, size_t old_count)
{
	struct entry *entries = map->entries, *fresh;
	size_t fresh_count = map->count - old_count, to = map->count, kept = 0;

	sort(entries + old_count, fresh_count);
	fresh = old_count && fresh_count ? sp_heap_alloc(fresh_count * sizeof(*fresh))
					 : NULL;
	if (fresh) {
		memcpy(fresh, entries + old_count, fresh_count * sizeof(*fresh));
		while (fresh_count > 0) {
			if (old_count > 0 && comes_before(&fresh[fresh_count - 1],
							  &entries[old_count - 1]))
				entries[--to] = entries[--old_count];
			else
				entries[--to] = fresh[--fresh_count];
		}
		sp_heap_free(fresh);
	} else {
		sort(entries, map->count);
	}
	/* Of several at one start, the last line is the code that is there now. */
	for (size_t i = 0; i < map->count; i++)
		if (i + 1 == map->count || entries[i + 1].start != entries[i].start)
			entries[kept++] = entries[i];
	map->count = kept;
}

/* Parses the whole lines in bytes; returns how many bytes they are. */
static size_t take_lines(struct sp_perf_map *map, const char *bytes, size_t size_bytes,
			 bool *is_full)
{
	size_t done = 0;

	while (done < size_bytes && !*is_full) {
		const char *line = bytes + done;
		const char *end = memchr(line, '\n', size_bytes - done);
		struct entry entry = {.line = map->read_bytes + done};

		if (!end)
			break;
		if (parse_line(line, end, &entry))
			*is_full = !add_entry(map, &entry);
		done = (size_t)(end - bytes) + 1;
	}
	return done;
}

static void read_new_lines(struct sp_perf_map *map, uint64_t size_bytes)
{
	size_t old_count = map->count;
	char *bytes = sp_heap_alloc(READ_BYTES);
	bool is_full = false;

	if (!bytes)
		return;
	while (map->read_bytes < size_bytes && !is_full) {
		long count = read_at(map->fd, map->read_bytes, bytes, READ_BYTES);
		size_t taken;

		if (count <= 0)
			break;
		taken = take_lines(map, bytes, (size_t)count, &is_full);
		/* A line longer than all we read at once is skipped as far as it goes;
		 * its rest does not parse as a line but by accident. */
		if (taken == 0 && (size_t)count == READ_BYTES)
			taken = READ_BYTES;
		if (taken == 0)
			break;
		map->read_bytes += taken;
	}
	sp_heap_free(bytes);
	if (map->count > old_count)
		merge_new(map, old_count);
}

static void add_text(char *path, size_t path_bytes, size_t *length, const char *text)
{
	size_t text_length = strlen(text);

	if (text_length < path_bytes - *length) {
		memcpy(path + *length, text, text_length + 1);
		*length += text_length;
	}
}

static int open_map(const struct sp_perf_map *map, struct stat *info)
{
	char path[sizeof(map->directory) + 64], digits[16];
	size_t length = 0, at = sizeof(digits) - 1;
	int number = map->pid;
	long fd;

	if (number <= 0)
		return -1;
	digits[at] = '\0';
	for (; number > 0; number /= 10)
		digits[--at] = (char)('0' + number % 10);
	add_text(path, sizeof(path), &length, map->directory);
	add_text(path, sizeof(path), &length, "/perf-");
	add_text(path, sizeof(path), &length, digits + at);
	add_text(path, sizeof(path), &length, ".map");

	fd = sp_syscall4(SYS_openat, AT_FDCWD, path,
			 O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return -1;
	/* /tmp is everybody's: names from a stranger's file are not ours. */
	if (sp_syscall2(SYS_fstat, fd, info) < 0 || !S_ISREG(info->st_mode) ||
	    (info->st_uid != 0 && info->st_uid != (uid_t)sp_syscall0(SYS_geteuid))) {
		sp_syscall1(SYS_close, fd);
		return -1;
	}
	return (int)fd;
}

static void refresh(struct sp_perf_map *map, int pid)
{
	uint64_t now_ns = sp_clock_monotonic_ns();
	struct stat info;
	int fd;

	if (map->pid != pid) {
		forget(map);
		map->pid = pid;
	} else if (map->checked_ns != 0 &&
		   now_ns - map->checked_ns < SP_PERF_MAP_REFRESH_NS) {
		return;
	}
	map->checked_ns = now_ns;
	fd = open_map(map, &info);
	if (fd < 0)
		return; /* what was read stays good */
	if (map->fd < 0 || info.st_dev != map->device || info.st_ino != map->inode ||
	    (uint64_t)info.st_size < map->read_bytes) {
		forget(map);
		map->fd = fd;
		map->device = info.st_dev;
		map->inode = info.st_ino;
	} else {
		sp_syscall1(SYS_close, fd);
	}
	if ((uint64_t)info.st_size > map->read_bytes)
		read_new_lines(map, (uint64_t)info.st_size);
}

/* The newest line that covers address, or NULL. */
static const struct entry *find_entry(const struct sp_perf_map *map, uint64_t address)
{
	const struct entry *found = NULL;
	size_t low = 0, high = map->count, looked_at = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (map->entries[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	/* Old code of a reused region may start below newer code and reach over
	 * it: the nearest start is not always the answer. */
	while (low > 0 && looked_at++ < OVERLAPS_MAX) {
		const struct entry *entry = &map->entries[--low];

		if (address < entry->end && (!found || entry->line > found->line))
			found = entry;
	}
	return found;
}

bool sp_perf_map_find(struct sp_perf_map *map, int pid, uint64_t address,
		      char name[SP_PERF_MAP_NAME_BYTES])
{
	char line[LINE_BYTES_MAX];
	const struct entry *entry;
	struct entry again;
	const char *text, *end;
	size_t length;
	long count;

	refresh(map, pid);
	entry = find_entry(map, address);
	if (!entry)
		return false;
	count = read_at(map->fd, entry->line, line, sizeof(line));
	end = memchr(line, '\n', (size_t)count);
	if (!end)
		end = line + count;
	text = parse_line(line, end, &again);
	if (!text || again.start != entry->start || again.end != entry->end)
		return false;
	if (end[-1] == '\r')
		end--;
	length = (size_t)(end - text);
	if (length > SP_PERF_MAP_NAME_BYTES - 1)
		length = SP_PERF_MAP_NAME_BYTES - 1;
	memcpy(name, text, length);
	name[length] = '\0';
	return length > 0;
}
