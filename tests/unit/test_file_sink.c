/*
 * Files that appear whole or not at all, whatever lies in their place. All of it twice:
 * with files that have no name at first, where the folder's file system has them, and
 * without.
 */
#include "sp_file_sink.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/file_sink_XXXXXX";
static char command[sizeof(folder) + 32];
static struct sp_file_sink file;
static int dir_fd;
static bool has_unnamed;

static void setup_empty_folder(void)
{
	strcpy(folder, "/tmp/file_sink_XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(sp_directory_open(folder, &dir_fd), 0);
	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, "any.pb.gz"), 0);
	has_unnamed = file.temporary_name[0] == '\0';
	sp_file_sink_abort(&file);
}

static void teardown(void)
{
	close(dir_fd);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	ck_assert_int_eq(system(command), 0);
}

/* Entries of the folder, hidden ones too. */
static int count_entries(void)
{
	int count = 0;
	FILE *list;

	snprintf(command, sizeof(command), "ls -A '%s'", folder);
	list = popen(command, "re");
	ck_assert_ptr_nonnull(list);
	for (int c; (c = fgetc(list)) != EOF;)
		count += c == '\n';
	pclose(list);
	return count;
}

static void put_file(const char *name, const char *content)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
	close(fd);
}

static void assert_content(const char *name, const char *content)
{
	char found[64] = "";
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
	ck_assert_int_ge(read(fd, found, sizeof(found) - 1), 0);
	ck_assert_str_eq(found, content);
	close(fd);
}

static int write_text(const char *text)
{
	return file.sink.write(&file.sink, text, strlen(text));
}

static int write_file(const char *name, const char *content, bool may_replace)
{
	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, name), 0);
	ck_assert_int_eq(write_text(content), 0);
	return sp_file_sink_commit(&file, may_replace);
}

START_TEST(file_appears_whole_when_committed)
{
	struct stat status;

	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, "app.17.cpu.pb.gz"), 0);
	ck_assert_int_eq(write_text("one "), 0);
	ck_assert_int_eq(write_text("two"), 0);
	ck_assert_int_ne(faccessat(dir_fd, "app.17.cpu.pb.gz", F_OK, 0), 0);
	ck_assert_int_eq(sp_file_sink_commit(&file, false), 0);
	assert_content("app.17.cpu.pb.gz", "one two");
	ck_assert_str_eq(file.name, "app.17.cpu.pb.gz");
	ck_assert_int_eq(count_entries(), 1);
	ck_assert_int_eq(fstatat(dir_fd, "app.17.cpu.pb.gz", &status, 0), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
}
END_TEST

START_TEST(file_that_is_given_up_leaves_nothing)
{
	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, "app.cpu.pb.gz"), 0);
	ck_assert_int_eq(write_text("half"), 0);
	ck_assert_int_eq(count_entries(), has_unnamed ? 0 : 1);
	sp_file_sink_abort(&file);
	ck_assert_int_eq(count_entries(), 0);
}
END_TEST

START_TEST(descriptor_is_closed_on_exec_and_after_use)
{
	int fd;

	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, "app.cpu.pb.gz"), 0);
	fd = file.fd;
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(sp_file_sink_commit(&file, false), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	ck_assert_int_eq(fcntl(dir_fd, F_GETFD), FD_CLOEXEC);
}
END_TEST

START_TEST(file_of_that_name_stays_and_the_new_one_is_numbered)
{
	put_file("redis.17.cpu.pb.gz", "old");
	ck_assert_int_eq(write_file("redis.17.cpu.pb.gz", "second", false), 0);
	ck_assert_str_eq(file.name, "redis.17.2.cpu.pb.gz");
	ck_assert_int_eq(write_file("redis.17.cpu.pb.gz", "third", false), 0);
	ck_assert_str_eq(file.name, "redis.17.3.cpu.pb.gz");
	assert_content("redis.17.cpu.pb.gz", "old");
	assert_content("redis.17.2.cpu.pb.gz", "second");
	assert_content("redis.17.3.cpu.pb.gz", "third");
	ck_assert_int_eq(count_entries(), 3);
}
END_TEST

static const struct {
	const char *name, *second;
} numbered[] = {
	{"redis.17.heap.folded", "redis.17.2.heap.folded"},
	{"cpu.pb.gz", "cpu.2.pb.gz"},
	{"cpu", "cpu.2"},
	{".cpu.pb.gz", ".cpu.2.pb.gz"},
	{"a.gz", "a.2.gz"},
};

START_TEST(number_comes_before_kind_and_extension)
{
	ck_assert_int_eq(write_file(numbered[_i].name, "one", false), 0);
	ck_assert_int_eq(write_file(numbered[_i].name, "two", false), 0);
	ck_assert_str_eq(file.name, numbered[_i].second);
	assert_content(numbered[_i].second, "two");
}
END_TEST

START_TEST(longest_name_still_gets_a_number)
{
	char name[NAME_MAX + 1];

	memset(name, 'n', NAME_MAX);
	strcpy(name + NAME_MAX - 10, ".cpu.pb.gz");
	ck_assert_int_eq(write_file(name, "one", false), 0);
	ck_assert_int_eq(write_file(name, "two", false), 0);
	ck_assert_uint_eq(strlen(file.name), NAME_MAX);
	ck_assert_str_eq(file.name + NAME_MAX - 12, ".2.cpu.pb.gz");
	assert_content(name, "one");
	assert_content(file.name, "two");
}
END_TEST

START_TEST(own_file_is_replaced_when_allowed)
{
	put_file("app.cpu.pb.gz", "older");
	ck_assert_int_eq(write_file("app.cpu.pb.gz", "newer", true), 0);
	assert_content("app.cpu.pb.gz", "newer");
	ck_assert_int_eq(write_file("fresh.cpu.pb.gz", "first", true), 0);
	assert_content("fresh.cpu.pb.gz", "first");
	ck_assert_int_eq(count_entries(), 2);
}
END_TEST

/* 0: a link to a file, 1: to nothing; 2, 3: the same, and we may replace. */
START_TEST(link_is_neither_followed_nor_replaced)
{
	char target[16] = "";

	put_file("target", "precious");
	ck_assert_int_eq(
		symlinkat(_i & 1 ? "nothing" : "target", dir_fd, "app.cpu.pb.gz"), 0);
	ck_assert_int_eq(write_file("app.cpu.pb.gz", "new", _i >= 2), 0);
	ck_assert_str_eq(file.name, "app.2.cpu.pb.gz");
	assert_content("app.2.cpu.pb.gz", "new");
	assert_content("target", "precious");
	ck_assert_int_gt(readlinkat(dir_fd, "app.cpu.pb.gz", target, sizeof(target) - 1),
			 0);
	ck_assert_str_eq(target, _i & 1 ? "nothing" : "target");
	ck_assert_int_ne(faccessat(dir_fd, "nothing", F_OK, 0), 0);
}
END_TEST

START_TEST(folder_of_that_name_stays)
{
	ck_assert_int_eq(mkdirat(dir_fd, "app.cpu.pb.gz", 0700), 0);
	ck_assert_int_eq(write_file("app.cpu.pb.gz", "new", true), 0);
	ck_assert_str_eq(file.name, "app.2.cpu.pb.gz");
}
END_TEST

START_TEST(names_that_lead_elsewhere_are_refused)
{
	static const char *const names[] = {"", ".", "..", "a/b", "/a", "../a"};
	char long_name[NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, names[i]), -EINVAL);
	memset(long_name, 'n', NAME_MAX + 1);
	long_name[NAME_MAX + 1] = '\0';
	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, long_name), -EINVAL);
	ck_assert_int_eq(count_entries(), 0);
}
END_TEST

START_TEST(folder_that_is_gone_is_an_error)
{
	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, "a.cpu.pb.gz"), 0);
	ck_assert_int_eq(write_text("new"), 0);
	if (!has_unnamed)
		ck_assert_int_eq(unlinkat(dir_fd, file.temporary_name, 0), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	ck_assert_int_eq(sp_file_sink_commit(&file, false), -ENOENT);
	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, "a.cpu.pb.gz"), -ENOENT);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
}
END_TEST

START_TEST(error_of_a_write_sticks_and_removes_the_file)
{
	put_file("app.cpu.pb.gz", "older");
	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, "app.cpu.pb.gz"), 0);
	ck_assert_int_eq(write_text("half"), 0);
	/* A descriptor that takes no writes stands for a broken disk. */
	ck_assert_int_eq(dup3(dir_fd, file.fd, O_CLOEXEC), file.fd);
	ck_assert_int_eq(write_text("rest"), -EBADF);
	ck_assert_int_eq(write_text("more"), -EBADF);
	ck_assert_int_eq(sp_file_sink_commit(&file, true), -EBADF);
	assert_content("app.cpu.pb.gz", "older");
	ck_assert_int_eq(count_entries(), 1);
}
END_TEST

START_TEST(full_disk_is_an_error_and_leaves_nothing)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(full, 0);
	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, "app.cpu.pb.gz"), 0);
	ck_assert_int_eq(dup3(full, file.fd, O_CLOEXEC), file.fd);
	ck_assert_int_eq(write_text("new"), -ENOSPC);
	ck_assert_int_eq(sp_file_sink_commit(&file, false), -ENOSPC);
	ck_assert_int_eq(count_entries(), 0);
	close(full);
}
END_TEST

/* In a process of its own, for what cannot be undone. */
static void in_child(int (*body)(void))
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(body());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "step %d failed",
		      WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

static int write_past_the_limit(void)
{
	struct rlimit limit = {.rlim_cur = 100, .rlim_max = 100};
	char data[60] = "";
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGXFSZ);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		return 1;
	if (sp_file_sink_open(&file, dir_fd, "app.cpu.pb.gz") != 0)
		return 2;
	if (file.sink.write(&file.sink, data, sizeof(data)) != 0)
		return 3;
	/* 40 bytes still fit. */
	if (file.sink.write(&file.sink, data, sizeof(data)) != -EFBIG)
		return 4;
	return sp_file_sink_commit(&file, false) == -EFBIG ? 0 : 5;
}

START_TEST(file_size_limit_is_an_error_and_leaves_nothing)
{
	in_child(write_past_the_limit);
	ck_assert_int_eq(count_entries(), 0);
}
END_TEST

static int be_killed_while_writing(void)
{
	if (sp_file_sink_open(&file, dir_fd, "app.cpu.pb.gz") != 0 ||
	    write_text("half") != 0)
		return 1;
	raise(SIGKILL);
	return 2;
}

START_TEST(kill_leaves_nothing)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(be_killed_while_writing());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	/* But for a file that had to have a name. */
	ck_assert_int_eq(count_entries(), has_unnamed ? 0 : 1);
}
END_TEST

/* Makes a system call fail from now on. */
static bool refuse(unsigned int call, unsigned int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int write_two_with_links(void)
{
	if (!refuse(SYS_renameat2, EINVAL))
		return 1;
	if (write_file("app.cpu.pb.gz", "one", false) != 0)
		return 2;
	return write_file("app.cpu.pb.gz", "two", false) == 0 ? 0 : 3;
}

START_TEST(file_system_without_that_rename_has_links)
{
	in_child(write_two_with_links);
	assert_content("app.cpu.pb.gz", "one");
	assert_content("app.2.cpu.pb.gz", "two");
	ck_assert_int_eq(count_entries(), 2);
}
END_TEST

/* Refuses renameat2 only where it has flags, as such file systems do. */
static bool refuse_rename_with_flags(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[4])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 6, .filter = filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int write_two_without_links(void)
{
	if (!refuse_rename_with_flags() || !refuse(SYS_linkat, EPERM))
		return 1;
	if (write_file("app.cpu.pb.gz", "none", false) != 0)
		return 2;
	if (write_file("app.cpu.pb.gz", "one", true) != 0)
		return 3;
	return write_file("app.cpu.pb.gz", "two", false) == 0 ? 0 : 4;
}

START_TEST(file_system_without_links_does_too)
{
	in_child(write_two_without_links);
	assert_content("app.cpu.pb.gz", "one");
	assert_content("app.2.cpu.pb.gz", "two");
	ck_assert_int_eq(count_entries(), 2);
}
END_TEST

START_TEST(missing_directories_are_made_for_their_owner_only)
{
	char path[sizeof(folder) + 32];
	struct stat status;
	int fd;

	snprintf(path, sizeof(path), "%s/a//b/c/", folder);
	ck_assert_int_eq(sp_directory_open(path, &fd), 0);
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert(S_ISDIR(status.st_mode));
	ck_assert_uint_eq(status.st_mode & 07777, 0700);
	close(fd);
	ck_assert_int_eq(fstatat(dir_fd, "a/b", &status, 0), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0700);
}
END_TEST

START_TEST(directory_that_is_there_keeps_its_mode)
{
	struct stat status;
	int fd;

	ck_assert_int_eq(fchmod(dir_fd, 0755), 0);
	ck_assert_int_eq(sp_directory_open(folder, &fd), 0);
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0755);
	close(fd);
}
END_TEST

START_TEST(path_through_a_file_is_no_directory)
{
	char path[sizeof(folder) + 32];
	int fd = -7;

	put_file("file", "");
	snprintf(path, sizeof(path), "%s/file", folder);
	ck_assert_int_eq(sp_directory_open(path, &fd), -ENOTDIR);
	snprintf(path, sizeof(path), "%s/file/below", folder);
	ck_assert_int_eq(sp_directory_open(path, &fd), -ENOTDIR);
	ck_assert_int_eq(sp_directory_open("", &fd), -ENOENT);
	ck_assert_int_eq(symlinkat("nothing", dir_fd, "dangling"), 0);
	snprintf(path, sizeof(path), "%s/dangling", folder);
	ck_assert_int_eq(sp_directory_open(path, &fd), -ENOENT);
	ck_assert_int_eq(fd, -7);
}
END_TEST

START_TEST(errno_is_left_alone)
{
	int fd;

	put_file("app.cpu.pb.gz", "old");
	errno = 1234;
	ck_assert_int_eq(sp_file_sink_open(&file, dir_fd, "app.cpu.pb.gz"), 0);
	ck_assert_int_eq(write_text("new"), 0);
	ck_assert_int_eq(sp_file_sink_commit(&file, false), 0);
	ck_assert_int_eq(sp_directory_open("/proc/none", &fd), -ENOENT);
	ck_assert_int_eq(errno, 1234);
}
END_TEST

/* Files without a name, in any folder. */
static bool refuse_unnamed(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 6, .filter = filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int run_suite(void)
{
	Suite *suite = suite_create("file_sink");
	TCase *tc = tcase_create("in an empty folder");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup_empty_folder, teardown);
	tcase_add_test(tc, file_appears_whole_when_committed);
	tcase_add_test(tc, file_that_is_given_up_leaves_nothing);
	tcase_add_test(tc, descriptor_is_closed_on_exec_and_after_use);
	tcase_add_test(tc, file_of_that_name_stays_and_the_new_one_is_numbered);
	tcase_add_loop_test(tc, number_comes_before_kind_and_extension, 0,
			    (int)(sizeof(numbered) / sizeof(numbered[0])));
	tcase_add_test(tc, longest_name_still_gets_a_number);
	tcase_add_test(tc, own_file_is_replaced_when_allowed);
	tcase_add_loop_test(tc, link_is_neither_followed_nor_replaced, 0, 4);
	tcase_add_test(tc, folder_of_that_name_stays);
	tcase_add_test(tc, names_that_lead_elsewhere_are_refused);
	tcase_add_test(tc, folder_that_is_gone_is_an_error);
	tcase_add_test(tc, error_of_a_write_sticks_and_removes_the_file);
	tcase_add_test(tc, full_disk_is_an_error_and_leaves_nothing);
	tcase_add_test(tc, file_size_limit_is_an_error_and_leaves_nothing);
	tcase_add_test(tc, kill_leaves_nothing);
	tcase_add_test(tc, file_system_without_that_rename_has_links);
	tcase_add_test(tc, file_system_without_links_does_too);
	tcase_add_test(tc, missing_directories_are_made_for_their_owner_only);
	tcase_add_test(tc, directory_that_is_there_keeps_its_mode);
	tcase_add_test(tc, path_through_a_file_is_no_directory);
	tcase_add_test(tc, errno_is_left_alone);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed;
}

int main(void)
{
	int failed = run_suite();

	/* For the second time, and for good. */
	if (!refuse_unnamed())
		return EXIT_FAILURE;
	failed += run_suite();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
