/*
 * Where a recording is made, and what somebody else does to its file meanwhile.
 */
#include "test_storage_fixture.h"

#include "sp_pages.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* --- places --- */

static void settings_for(struct sp_recording_settings *settings, const char *directory,
			 const char *runtime, const char *out)
{
	*settings = (struct sp_recording_settings){.directory = directory,
						   .runtime_directory = runtime,
						   .out_directory = out,
						   .program = "tested",
						   .bytes_max = BYTES_MAX};
}

static bool lies_in(const char *directory)
{
	return strncmp(recording.path, directory, strlen(directory)) == 0 &&
	       recording.path[strlen(directory)] == '/';
}

static void wanted_directory_is_used_alone(void)
{
	struct sp_recording_settings settings;

	settings_for(&settings, folder, "/dev/shm", "/tmp");
	require(sp_recording_create(&recording, &settings) == 0);
	require(lies_in(folder));
}

static void missing_wanted_directory_gives_way_to_the_output(void)
{
	struct sp_recording_settings settings;

	settings_for(&settings, "/proc/nonexistent/directory", "/dev/shm", folder);
	require(sp_recording_create(&recording, &settings) == 0);
	require(lies_in(folder));
}

static void runtime_directory_comes_first(void)
{
	struct sp_recording_settings settings;

	settings_for(&settings, "", folder, "/tmp");
	require(sp_recording_create(&recording, &settings) == 0);
	require(lies_in(folder));
}

static void file_is_for_its_owner_only(void)
{
	struct stat status;

	umask(0);
	begin_recording(folder, BYTES_MAX, true);
	require(stat(recording.path, &status) == 0);
	require((status.st_mode & 07777) == 0600);
}

static void read_only_directory_leaves_anonymous_memory(void)
{
	if (geteuid() == 0) {
		/* root writes where it likes, but not here */
		begin_recording("/proc", BYTES_MAX, false);
	} else {
		require(chmod(folder, 0500) == 0);
		begin_recording(folder, BYTES_MAX, false);
		require(chmod(folder, 0700) == 0);
	}
	produce_too_much();
}

static void path_that_is_too_long_leaves_anonymous_memory(void)
{
	char path[PATH_MAX];

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	begin_recording(path, BYTES_MAX, false);
}

static void longest_program_name_leaves_room_for_the_rest(void)
{
	struct sp_recording_settings settings;
	char program[NAME_MAX + 1];

	memset(program, 'x', sizeof(program));
	program[sizeof(program) - 1] = '\0';
	settings_for(&settings, folder, "", "");
	settings.program = program;
	require(sp_recording_create(&recording, &settings) == 0);
	require(lies_in(folder));
	require(strlen(strrchr(recording.path, '/') + 1) <= NAME_MAX);
	require(strncmp(strrchr(recording.path, '/') + 1, program, 200) == 0);
	require(strstr(recording.path, SP_RECORDING_SUFFIX));
}

/* --- what happens to the file meanwhile --- */

static void replace_by_a_file(void)
{
	int fd;

	remove_file();
	fd = open(recording.path, O_RDWR | O_CREAT | O_EXCL, 0600);
	require(fd >= 0);
	require(write(fd, "another", 7) == 7);
	close(fd);
}

static void replace_by_a_link(void)
{
	char target[128];
	int fd;

	snprintf(target, sizeof(target), "%s/target", folder);
	fd = open(target, O_RDWR | O_CREAT, 0600);
	require(fd >= 0);
	close(fd);
	remove_file();
	require(symlink(target, recording.path) == 0);
}

static void replace_by_a_fifo(void)
{
	remove_file();
	require(mkfifo(recording.path, 0600) == 0);
}

static void replace_by_a_directory(void)
{
	remove_file();
	require(mkdir(recording.path, 0700) == 0);
}

/* Samples go on, whoever took the place is left as it is. */
static void go_on_after(void (*change)(void))
{
	struct stat before, after;
	bool is_there;

	begin_recording(folder, BYTES_MAX, true);
	change();
	is_there = lstat(recording.path, &before) == 0;
	produce_too_much();
	require(tally.dropped_samples < tally.all_samples);
	sp_recording_remove(&recording);
	if (is_there) {
		require(lstat(recording.path, &after) == 0);
		require(before.st_ino == after.st_ino &&
			before.st_size == after.st_size &&
			before.st_blocks == after.st_blocks);
	}
}

static void removed_file_goes_on(void)
{
	go_on_after(remove_file);
}

static void replaced_file_is_not_touched(void)
{
	go_on_after(replace_by_a_file);
}

static void link_in_its_place_is_not_followed(void)
{
	go_on_after(replace_by_a_link);
}

static void fifo_in_its_place_does_not_hang(void)
{
	go_on_after(replace_by_a_fifo);
}

static void directory_in_its_place_does_no_harm(void)
{
	go_on_after(replace_by_a_directory);
}

static void own_file_is_removed(void)
{
	begin_recording(folder, BYTES_MAX, true);
	sp_recording_remove(&recording);
	require(access(recording.path, F_OK) != 0);
	/* The memory stays. */
	produce_too_much();
	sp_recording_detach(&recording);
	require(recording.header == NULL);
}

static void chroot_later_does_no_harm(void)
{
	begin_recording(folder, BYTES_MAX, true);
	if (chroot("/proc") != 0)
		_exit(SKIPPED);
	require(chdir("/") == 0);
	produce_too_much();
	require(tally.dropped_samples < tally.all_samples);
}

/* A file system that is no disk itself, but may have its files on one. */
static void mount_overlay(char *place, size_t place_bytes)
{
	char options[256];

	if (unshare(CLONE_NEWNS) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || chdir(folder) != 0)
		_exit(SKIPPED);
	require(mkdir("lower", 0700) == 0 && mkdir("upper", 0700) == 0);
	require(mkdir("work", 0700) == 0 && mkdir("place", 0700) == 0);
	snprintf(options, sizeof(options),
		 "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", folder, folder,
		 folder);
	snprintf(place, place_bytes, "%s/place", folder);
	if (mount("overlay", place, "overlay", 0, options) != 0)
		_exit(SKIPPED);
}

/* By this process. */
static bool is_touched(int pagemap, const void *page)
{
	uint64_t entry = 0;

	require(pread(pagemap, &entry, sizeof(entry),
		      (off_t)((uintptr_t)page / SP_PAGE_BYTES * sizeof(entry))) ==
		sizeof(entry));
	return entry >> 63;
}

static void where_touching_may_wait_no_page_is_left_for_later(void)
{
	char place[128];
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	mount_overlay(place, sizeof(place));
	begin_recording(place, BYTES_MAX, true);
	if (pagemap < 0 || madvise(recording.header, 0, MADV_POPULATE_WRITE) != 0)
		_exit(SKIPPED);
	for (unsigned int kind = 0; kind < SP_SECTION_COUNT; kind++) {
		const struct sp_section *section = &recording.header->sections[kind];
		uint64_t bytes =
			sp_recording_reserved(&recording, kind) * section->item_bytes;

		for (uint64_t at = 0; at < bytes; at += SP_PAGE_BYTES)
			require(is_touched(
				pagemap,
				sp_recording_at(&recording, section->offset + at)));
	}
}

static void (*const cases[])(void) = {
	wanted_directory_is_used_alone,
	missing_wanted_directory_gives_way_to_the_output,
	runtime_directory_comes_first,
	file_is_for_its_owner_only,
	read_only_directory_leaves_anonymous_memory,
	path_that_is_too_long_leaves_anonymous_memory,
	longest_program_name_leaves_room_for_the_rest,
	removed_file_goes_on,
	replaced_file_is_not_touched,
	link_in_its_place_is_not_followed,
	fifo_in_its_place_does_not_hang,
	directory_in_its_place_does_no_harm,
	own_file_is_removed,
	chroot_later_does_no_harm,
	where_touching_may_wait_no_page_is_left_for_later,
};

START_TEST(recording_lives_wherever_its_file_is)
{
	run(cases[_i]);
}
END_TEST

int main(void)
{
	return run_cases("recording_places", recording_lives_wherever_its_file_is,
			 (int)SP_ARRAY_COUNT(cases));
}
