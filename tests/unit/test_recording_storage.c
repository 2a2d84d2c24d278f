/*
 * Making a recording and taking storage for it where there is little, none, or where
 * somebody changes the place meanwhile. Each case runs in a process of its own: a
 * SIGBUS or SIGXFSZ would show as its end.
 */
#include "test_recording_fixture.h"

#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

#define BYTES_MAX (UINT64_C(2) << 20)
#define SKIPPED 77

static char folder[64];

static void setup_folder(void)
{
	ck_assert(test_make_folder(folder, sizeof(folder)));
}

static void teardown(void)
{
	test_remove_folder(folder);
}

/* In a child: a condition that does not hold ends it with the line's number. */
static _Noreturn void give_up(int line)
{
	dprintf(STDERR_FILENO, "line %d does not hold\n", line);
	_exit(1);
}
#define require(condition)                                                               \
	do {                                                                             \
		if (!(condition))                                                        \
			give_up(__LINE__);                                               \
	} while (0)

static void run(void (*test)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		test();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!WIFSIGNALED(status), "killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) == SKIPPED)
		puts("left out: needs mount() or chroot()");
	else
		ck_assert_int_eq(WEXITSTATUS(status), 0);
}

static struct sp_recording recording;
static struct sp_absorber absorber;
static struct test_tally tally;

static uint64_t storage_bytes(void)
{
	return atomic_load(&recording.header->storage_bytes);
}

/* Far more stacks than there is room for; the sum must be whole all the same. */
static void produce_too_much(void)
{
	struct sp_slot *slot = test_thread(&recording, 1, true);
	struct sp_ring *ring;
	uint64_t refused = 0;

	require(slot);
	require(atomic_load(&slot->ring));
	ring = test_ring_of(&recording, slot);
	for (uint32_t i = 0; i < 200000; i++) {
		/* Frames beyond TEST_STACKS_MAX are not told apart, but counted. */
		if (!test_produce(ring, i, 1, TEST_END_OUTERMOST)) {
			refused++;
			sp_absorber_drain(&absorber);
		}
		require(storage_bytes() <= recording.header->storage_bytes_max);
	}
	sp_absorber_drain(&absorber);
	test_tally_read(&recording, &tally);
	require(tally.all_samples == 200000 - refused);
	require(tally.dropped_samples > 0);
	require(tally.dropped_samples == tally.losses[SP_LOSS_TABLE_FULL]);
}

static void begin_recording(const char *directory, uint64_t bytes_max, bool is_file)
{
	require(test_recording_make(&recording, directory, bytes_max) == 0);
	require(recording.is_file == is_file);
	require(sp_absorber_init(&absorber, &recording) == 0);
	sp_ring_pool_grow(&recording, 1);
}

/* What is in the file is what is in memory. */
static void require_readable(void)
{
	struct sp_recording copy;
	struct test_tally copied;
	char error[256];

	require(sp_recording_open(&copy, recording.path, error, sizeof(error)) == 0);
	require(test_drain(&copy) == 0);
	test_tally_read(&copy, &copied);
	require(copied.all_samples == tally.all_samples);
	require(copied.dropped_samples == tally.dropped_samples);
	sp_recording_close(&copy);
}

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
	limit(RLIMIT_AS, address_space_bytes() + (24 << 20));
	require(test_recording_make(&recording, folder, UINT64_C(256) << 20) == 0);
	require(recording.mapped_bytes < 24 << 20);
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

static void no_address_space_is_an_error(void)
{
	if (HAS_LARGE_SHADOW)
		return;
	limit(RLIMIT_AS, address_space_bytes());
	require(test_recording_make(&recording, folder, BYTES_MAX) < 0);
	require(rmdir(folder) == 0);
	require(mkdir(folder, 0700) == 0);
}

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

/* --- what happens to the file meanwhile --- */

static void remove_file(void)
{
	require(unlink(recording.path) == 0);
}

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
	no_address_space_is_an_error,
	wanted_directory_is_used_alone,
	missing_wanted_directory_gives_way_to_the_output,
	runtime_directory_comes_first,
	file_is_for_its_owner_only,
	read_only_directory_leaves_anonymous_memory,
	path_that_is_too_long_leaves_anonymous_memory,
	removed_file_goes_on,
	replaced_file_is_not_touched,
	link_in_its_place_is_not_followed,
	fifo_in_its_place_does_not_hang,
	directory_in_its_place_does_no_harm,
	own_file_is_removed,
	chroot_later_does_no_harm,
	full_file_system_leaves_anonymous_memory,
	nearly_full_file_system_leaves_nothing_behind,
	file_system_that_fills_up_later_drops_samples,
	file_system_with_a_little_room_is_used_up,
	full_file_system_and_removed_file_drop_samples,
	no_inodes_leave_anonymous_memory,
};

START_TEST(recording_takes_what_it_can_get)
{
	run(cases[_i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("recording_storage");
	TCase *tc = tcase_create("recording_storage");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_folder, teardown);
	tcase_add_loop_test(tc, recording_takes_what_it_can_get, 0,
			    (int)SP_ARRAY_COUNT(cases));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
