/*
 * Taking storage for a recording where there is little or none: its own limit, the
 * limits of the process, a file system that is full.
 */
#include "layout.h"
#include "sp_pages.h"
#include "test_storage_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* The address sanitizer's own mappings are beyond any limit. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_LARGE_SHADOW true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_LARGE_SHADOW true
#endif
#endif
#ifndef HAS_LARGE_SHADOW
#define HAS_LARGE_SHADOW false
#endif

static uint64_t blocks_bytes(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}

static void storage_limit_holds(void)
{
	begin_recording(folder, BYTES_MAX, true);
	produce_too_much();
	require(blocks_bytes(recording.path) <= BYTES_MAX + 2 * 4096);
	require_readable();
}

static void anonymous_storage_limit_holds(void)
{
	begin_recording("/proc/nonexistent/directory", BYTES_MAX, false);
	require(recording.path[0] == '\0');
	produce_too_much();
}

static void requests_beyond_the_capacity_are_refused(void)
{
	begin_recording(folder, BYTES_MAX, true);
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		uint64_t capacity = recording.header->sections[kind].capacity_items;

		require(sp_recording_reserve(&recording, (enum sp_section_kind)kind,
					     capacity + 1) == -ENOSPC);
		require(sp_recording_reserve(&recording, (enum sp_section_kind)kind,
					     UINT64_MAX) == -ENOSPC);
		require(sp_recording_reserve(&recording, (enum sp_section_kind)kind, 1) ==
			0);
	}
}

/* Every byte that is said to be reserved can be written. */
static void reserved_storage_can_be_touched(void)
{
	begin_recording(folder, BYTES_MAX, true);
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		struct sp_section *section = &recording.header->sections[kind];

		for (uint64_t items = 1; items <= section->capacity_items;
		     items += 1 + items / 3)
			if (sp_recording_reserve(&recording, (enum sp_section_kind)kind,
						 items) != 0)
				break;
		memset(sp_recording_at(&recording, section->offset), 0x55,
		       atomic_load(&section->reserved_items) * section->item_bytes);
	}
	require(storage_bytes() <= BYTES_MAX);
	require(blocks_bytes(recording.path) <= BYTES_MAX + 2 * 4096);
}

static void no_descriptor_is_left_open(void)
{
	int first = open("/dev/null", O_RDONLY);

	begin_recording(folder, BYTES_MAX, true);
	require(sp_recording_reserve(&recording, SP_SECTION_NODES, 20000) == 0);
	require(open("/dev/null", O_RDONLY) == first + 1);
}

/* --- limits of the process --- */

static void limit(enum __rlimit_resource resource, rlim_t value)
{
	struct rlimit set = {value, value};

	require(setrlimit(resource, &set) == 0);
}

/* SIGXFSZ has its default action here: it would end the process. */
static void small_file_size_limit_makes_a_small_recording(void)
{
	limit(RLIMIT_FSIZE, 8 << 20);
	begin_recording(folder, UINT64_C(64) << 20, true);
	require(recording.mapped_bytes <= 8 << 20);
	require(recording.header->storage_bytes_max >= SP_RECORDING_BYTES_MIN);
	produce_too_much();
	require_readable();
}

static void tiny_file_size_limit_leaves_no_file(void)
{
	limit(RLIMIT_FSIZE, 64 << 10);
	begin_recording(folder, BYTES_MAX, false);
	produce_too_much();
	require(rmdir(folder) == 0);
	require(mkdir(folder, 0700) == 0);
}

static void file_size_limit_set_later_does_no_harm(void)
{
	begin_recording(folder, BYTES_MAX, true);
	limit(RLIMIT_FSIZE, 4096);
	produce_too_much();
	require_readable();
}

static uint64_t address_space_bytes(void)
{
	char text[128] = "";
	FILE *file = fopen("/proc/self/statm", "r");

	require(file && fgets(text, sizeof(text), file));
	fclose(file);
	return strtoull(text, NULL, 10) * 4096;
}

static void small_address_space_makes_a_small_recording(void)
{
	if (HAS_LARGE_SHADOW)
		return;
	limit(RLIMIT_AS, address_space_bytes() + (32 << 20));
	require(test_recording_make(&recording, folder, UINT64_C(256) << 20) == 0);
	require(recording.mapped_bytes < 32 << 20);
	require(sp_absorber_init(&absorber, &recording) == 0);
	sp_ring_pool_grow(&recording, 1);
}

/* The private indexes cannot grow either: samples become [dropped], none is lost. */
static void address_space_that_ends_later_does_no_harm(void)
{
	if (HAS_LARGE_SHADOW)
		return;
	begin_recording(folder, BYTES_MAX, true);
	limit(RLIMIT_AS, address_space_bytes());
	produce_too_much();
}

/* Where a section ends now, and where it could have ended. */
static unsigned char *end_of(enum sp_section_kind kind, uint64_t items)
{
	const struct sp_section *section = &recording.header->sections[kind];

	return (unsigned char *)sp_recording_at(&recording, section->offset) +
	       SP_ROUND_UP(items * section->item_bytes, SP_PAGE_BYTES);
}

/* Somebody else's page at the beginning of all that was given back. How many there are.
 */
static unsigned take_what_was_given_back(unsigned char *pages[SP_SECTION_COUNT])
{
	unsigned count = 0;

	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		unsigned char *page =
			end_of(kind, sp_recording_items_max(&recording, kind));

		if (page == end_of(kind, recording.header->sections[kind].capacity_items))
			continue;
		require(mmap(page, SP_PAGE_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			     0) == page);
		memset(page, 0x33, SP_PAGE_BYTES);
		pages[count++] = page;
	}
	return count;
}

static void require_untouched(unsigned char *const *pages, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		require(pages[i][0] == 0x33 && pages[i][SP_PAGE_BYTES - 1] == 0x33);
}

static void addresses_are_given_back_and_left_alone(void)
{
	struct rlimit before, low;
	unsigned char *pages[SP_SECTION_COUNT];
	uint64_t nodes_max;
	unsigned count;

	begin_recording(folder, UINT64_C(64) << 20, true);
	require(getrlimit(RLIMIT_AS, &before) == 0);
	low = (struct rlimit){64 << 20, before.rlim_max};
	require(setrlimit(RLIMIT_AS, &low) == 0);
	sp_recording_fit_addresses(&recording);
	require(setrlimit(RLIMIT_AS, &before) == 0);
	require(sp_recording_has_given_back(&recording));
	count = take_what_was_given_back(pages);
	require(count >= 5);

	/* What is left is used, no more. */
	nodes_max = sp_recording_items_max(&recording, SP_SECTION_NODES);
	require(sp_recording_reserve(&recording, SP_SECTION_NODES, nodes_max) == 0);
	require(sp_recording_reserve(&recording, SP_SECTION_NODES, nodes_max + 1) ==
		-ENOSPC);
	produce_too_much();
	require_readable();
	require(sp_recording_put_back(&recording) < 0);
	require_untouched(pages, count);
	sp_recording_close_unused(&recording);
	require_untouched(pages, count);
	sp_recording_cut_off(&recording);
	require(recording.header->sections[SP_SECTION_NODES].capacity_items > nodes_max);
	require_untouched(pages, count);
	sp_recording_detach(&recording);
	require_untouched(pages, count);
}

/* Who takes storage at that moment keeps all. */
static void addresses_that_are_being_used_stay(void)
{
	struct rlimit before, low;

	begin_recording(folder, UINT64_C(64) << 20, true);
	require(getrlimit(RLIMIT_AS, &before) == 0);
	low = (struct rlimit){64 << 20, before.rlim_max};
	atomic_store(&recording.takers, 1);
	require(setrlimit(RLIMIT_AS, &low) == 0);
	sp_recording_fit_addresses(&recording);
	require(setrlimit(RLIMIT_AS, &before) == 0);
	require(!sp_recording_has_given_back(&recording));
	require(sp_recording_reserve(&recording, SP_SECTION_NODES, 100000) == 0);
}

static void no_address_space_is_an_error(void)
{
	if (HAS_LARGE_SHADOW)
		return;
	limit(RLIMIT_AS, address_space_bytes());
	require(test_recording_make(&recording, folder, BYTES_MAX) < 0);
	require(rmdir(folder) == 0);
	require(mkdir(folder, 0700) == 0);
}

/* --- a file system that is full --- */

static void mount_tmpfs(const char *size)
{
	if (unshare(CLONE_NEWNS) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", folder, "tmpfs", 0, size) != 0)
		_exit(SKIPPED);
}

static void fill_file_system(uint64_t leave_bytes)
{
	static char bytes[4096];
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/filler", folder);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	require(fd >= 0);
	while (write(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes))
		;
	require(errno == ENOSPC);
	require(ftruncate(fd, lseek(fd, 0, SEEK_CUR) - (off_t)leave_bytes) == 0);
	close(fd);
}

static bool has_recording(void)
{
	char command[128];

	snprintf(command, sizeof(command), "ls %s | grep -q spanprof", folder);
	return system(command) == 0;
}

static void full_file_system_leaves_anonymous_memory(void)
{
	mount_tmpfs("size=2m");
	fill_file_system(0);
	begin_recording(folder, BYTES_MAX, false);
	require(!has_recording());
	produce_too_much();
}

/* Room for the header and some of the tables only. */
static void nearly_full_file_system_leaves_nothing_behind(void)
{
	mount_tmpfs("size=2m");
	fill_file_system(128 << 10);
	begin_recording(folder, BYTES_MAX, false);
	require(!has_recording());
}

static void file_system_that_fills_up_later_drops_samples(void)
{
	mount_tmpfs("size=2m");
	begin_recording(folder, UINT64_C(64) << 20, true);
	fill_file_system(0);
	produce_too_much();
	require_readable();
}

static void file_system_with_a_little_room_is_used_up(void)
{
	mount_tmpfs("size=2m");
	begin_recording(folder, UINT64_C(64) << 20, true);
	produce_too_much();
	require(storage_bytes() <= 2 << 20);
	require(tally.dropped_samples < tally.all_samples);
	require_readable();
}

/* What it takes new, with more in one section, and put back. */
static void measure_recording(uint64_t bytes[3])
{
	begin_recording(folder, UINT64_C(64) << 20, true);
	bytes[0] = blocks_bytes(recording.path);
	require(sp_recording_reserve(&recording, SP_SECTION_NODES, 20000) == 0);
	bytes[1] = blocks_bytes(recording.path);
	require(sp_recording_remove(&recording) == 0);
	require(sp_recording_put_back(&recording) == 0);
	bytes[2] = blocks_bytes(recording.path);
}

/* Each section has addresses enough for large pages. */
static void file_system_of_large_pages_gives_small_ones(void)
{
	uint64_t usual[3], large[3];

	measure_recording(usual);
	remove_file();
	sp_recording_detach(&recording);
	mount_tmpfs("size=64m,huge=always");
	measure_recording(large);
	require(memcmp(large, usual, sizeof(usual)) == 0);
	fill_file_system(128 << 10);
	produce_too_much();
	require_readable();
}

/* No way to the file any more, and the pages that are missing cannot be had. */
static void full_file_system_and_removed_file_drop_samples(void)
{
	mount_tmpfs("size=2m");
	begin_recording(folder, UINT64_C(64) << 20, true);
	remove_file();
	fill_file_system(0);
	produce_too_much();
}

static void no_inodes_leave_anonymous_memory(void)
{
	mount_tmpfs("size=8m,nr_inodes=2");
	fill_file_system(4 << 20);
	begin_recording(folder, BYTES_MAX, false);
}

/* --- cut off --- */

static uint64_t word_of_file(int fd, const void *at)
{
	off_t offset = (off_t)((const unsigned char *)at -
			       (const unsigned char *)recording.header);
	uint64_t word = 0;

	require(pread(fd, &word, sizeof(word), offset) == (ssize_t)sizeof(word));
	return word;
}

static void write_word(void *at)
{
	const uint64_t written = 4711;

	memcpy(at, &written, sizeof(written));
}

/* What is written from then on is in no part of the file; modules can still be read. */
static void cut_off_and_write(void (*limit_it)(void))
{
	const struct sp_module_record module = {.base = 0x1234000};
	void *words[SP_SECTION_COUNT + 1] = {&recording.header->process_cpu_ns};
	uint64_t before[SP_SECTION_COUNT + 1];
	struct sp_module_record *kept;
	int fd = open(recording.path, O_RDONLY);
	uint16_t id;

	require(fd >= 0);
	id = sp_recording_add_module(&recording, &module, "/lib/of-a-long-name.so");
	require(id);
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		require(sp_recording_reserve(&recording, (enum sp_section_kind)kind, 1) ==
			0);
		words[kind + 1] =
			sp_recording_item(&recording, (enum sp_section_kind)kind, 0);
	}
	for (unsigned int i = 0; i <= SP_SECTION_COUNT; i++)
		before[i] = word_of_file(fd, words[i]);
	limit_it();
	sp_recording_cut_off(&recording);
	require(!recording.is_file);
	kept = sp_recording_item(&recording, SP_SECTION_MODULES,
				 sp_recording_used(&recording, SP_SECTION_MODULES) - 1);
	require(kept->base == module.base);
	require(strcmp(sp_recording_item(&recording, SP_SECTION_STRINGS, kept->path),
		       "/lib/of-a-long-name.so") == 0);
	for (unsigned int i = 0; i <= SP_SECTION_COUNT; i++)
		write_word(words[i]);
	for (unsigned int i = 0; i <= SP_SECTION_COUNT; i++)
		require(word_of_file(fd, words[i]) == before[i]);
}

/* Private memory counts against that limit. */
static void limit_data(void)
{
	limit(RLIMIT_DATA, 4096);
}

static void recording_is_cut_off_where_data_is_limited(void)
{
	begin_recording(folder, BYTES_MAX, true);
	cut_off_and_write(limit_data);
}

/* But for what the stack may grow by. */
static void limit_addresses(void)
{
	limit(RLIMIT_AS, address_space_bytes() + (128 << 10));
}

static void recording_is_cut_off_where_addresses_are_limited(void)
{
	if (HAS_LARGE_SHADOW)
		return;
	begin_recording(folder, UINT64_C(64) << 20, true);
	cut_off_and_write(limit_addresses);
}

/* In pieces, of which each is cut off. */
static void recording_that_gave_addresses_back_is_cut_off(void)
{
	const struct rlimit low = {64 << 20, RLIM_INFINITY};
	struct rlimit before;

	begin_recording(folder, UINT64_C(64) << 20, true);
	require(getrlimit(RLIMIT_AS, &before) == 0);
	require(setrlimit(RLIMIT_AS, &low) == 0);
	sp_recording_fit_addresses(&recording);
	require(setrlimit(RLIMIT_AS, &before) == 0);
	require(sp_recording_has_given_back(&recording));
	cut_off_and_write(HAS_LARGE_SHADOW ? limit_data : limit_addresses);
}

static void (*const cases[])(void) = {
	storage_limit_holds,
	anonymous_storage_limit_holds,
	requests_beyond_the_capacity_are_refused,
	reserved_storage_can_be_touched,
	no_descriptor_is_left_open,
	small_file_size_limit_makes_a_small_recording,
	tiny_file_size_limit_leaves_no_file,
	file_size_limit_set_later_does_no_harm,
	small_address_space_makes_a_small_recording,
	address_space_that_ends_later_does_no_harm,
	addresses_are_given_back_and_left_alone,
	addresses_that_are_being_used_stay,
	no_address_space_is_an_error,
	full_file_system_leaves_anonymous_memory,
	nearly_full_file_system_leaves_nothing_behind,
	file_system_that_fills_up_later_drops_samples,
	file_system_with_a_little_room_is_used_up,
	file_system_of_large_pages_gives_small_ones,
	full_file_system_and_removed_file_drop_samples,
	no_inodes_leave_anonymous_memory,
	recording_is_cut_off_where_data_is_limited,
	recording_is_cut_off_where_addresses_are_limited,
	recording_that_gave_addresses_back_is_cut_off,
};

START_TEST(recording_takes_what_it_can_get)
{
	run(cases[_i]);
}
END_TEST

int main(void)
{
	return run_cases("recording_storage", recording_takes_what_it_can_get,
			 (int)SP_ARRAY_COUNT(cases));
}
