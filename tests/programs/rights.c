/*
 * rights MODE [NUMBER or FOLDER]: gives up rights as servers do, and prints after each
 * step whom its threads act for and what they may do: once, as all are alike. 77: not
 * permitted here.
 *
 *   drop        group, supplementary groups and user, for good
 *   switch      the effective user, there and back
 *   keep        the user, but for a capability
 *   less        a capability, as the same user
 *   user        nothing but the user, for good
 *   filter      the same, after a filter that kills for the system call of that number
 *   taken       as drop; then tries what the new user can do to the files of the folder
 *   unseen      the effective user, there; back by a call that nobody sees; then groups
 */
#include "burn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define NOBODY 65534
#define TEXT_BYTES 512

int capset(struct __user_cap_header_struct *header,
	   const struct __user_cap_data_struct *data);

static void read_rights(const char *thread, char text[TEXT_BYTES])
{
	static const char *const kinds[] = {
		"Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "CapInh:"};
	char path[300], line[200];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%s/status", thread);
	file = fopen(path, "r");
	text[0] = '\0';
	while (file && fgets(line, sizeof(line), file))
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (strncmp(line, kinds[i], strlen(kinds[i])) == 0)
				strncat(text, line, TEXT_BYTES - strlen(text) - 1);
	if (file)
		fclose(file);
}

/* Those of the other threads where they differ. */
static void print_rights(const char *step)
{
	char first[TEXT_BYTES], text[TEXT_BYTES];
	DIR *threads = opendir("/proc/self/task");
	struct dirent *entry;

	snprintf(text, sizeof(text), "%d", (int)getpid());
	read_rights(text, first);
	printf("%s\n%s", step, first);
	while (threads && (entry = readdir(threads)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		read_rights(entry->d_name, text);
		if (text[0] && strcmp(text, first) != 0)
			printf("another thread:\n%s", text);
	}
	if (threads)
		closedir(threads);
}

static int keep_only(uint32_t capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = 1U << capability, .permitted = 1U << capability}};

	return capset(&header, data);
}

static int drop(void)
{
	const gid_t groups[] = {NOBODY, 4242};

	if (setgroups(2, groups) != 0 || setgid(NOBODY) != 0)
		return 3;
	print_rights("groups");
	if (setuid(NOBODY) != 0)
		return 4;
	print_rights("user");
	return setuid(0) == 0;
}

static int change_and_return(void)
{
	if (setegid(NOBODY) != 0 || seteuid(NOBODY) != 0)
		return 3;
	print_rights("there");
	if (seteuid(0) != 0 || setegid(0) != 0)
		return 4;
	print_rights("back");
	return 0;
}

static int keep(void)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) || keep_only(CAP_NET_BIND_SERVICE) != 0)
		return 3;
	print_rights("kept");
	return 0;
}

static int less(void)
{
	if (keep_only(CAP_SETGID) != 0)
		return 3;
	print_rights("less");
	return setuid(NOBODY) == 0;
}

static int user_only(void)
{
	if (setuid(NOBODY) != 0)
		return 3;
	print_rights("user");
	return setuid(0) == 0;
}

static int filter_and_user(unsigned int deadly_call)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, deadly_call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = 4, .filter = steps};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		return 77;
	return user_only();
}

static void say(const char *what, int result)
{
	if (result < 0)
		printf("cannot %s: %s\n", what, strerrorname_np(errno));
	else
		printf("can %s\n", what);
}

/* Whose folder it is may put another file in place of it, but for a sticky one. */
static void try_file(int folder, const char *name)
{
	struct stat status;

	say("read", openat(folder, name, O_RDONLY | O_CLOEXEC));
	say("write", openat(folder, name, O_WRONLY | O_CLOEXEC));
	say("permit it", fchmodat(folder, name, 0666, 0));
	say("take it", fchownat(folder, name, NOBODY, NOBODY, 0));
	if (fstat(folder, &status) != 0 || !(status.st_mode & S_ISVTX))
		return;
	say("move it", renameat(folder, name, folder, "moved"));
	say("remove it", unlinkat(folder, name, 0));
}

static int drop_and_try(const char *path)
{
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = drop();
	DIR *entries = fdopendir(folder);
	struct dirent *entry;

	while (entries && (entry = readdir(entries)) != NULL)
		if (entry->d_name[0] != '.')
			try_file(folder, entry->d_name);
	if (entries)
		closedir(entries);
	return result;
}

/* No function of the C library, which is what a profiler sees. */
static long return_unseen(void)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(SYS_setresuid), "D"(-1L), "S"(0L), "d"(-1L)
			 : "rcx", "r11", "memory");
	return result;
}

static int change_groups_unseen(void)
{
	const gid_t groups[] = {NOBODY, 4242};

	if (seteuid(NOBODY) != 0)
		return 3;
	print_rights("there");
	if (return_unseen() != 0 || setgroups(2, groups) != 0)
		return 4;
	print_rights("groups");
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (getuid() != 0)
		return 77;
	burn(100 * NS_PER_MS);
	if (strcmp(mode, "drop") == 0)
		return drop();
	if (strcmp(mode, "switch") == 0)
		return change_and_return();
	if (strcmp(mode, "keep") == 0)
		return keep();
	if (strcmp(mode, "less") == 0)
		return less();
	if (strcmp(mode, "user") == 0)
		return user_only();
	if (strcmp(mode, "filter") == 0)
		return filter_and_user((unsigned int)number_argument(argc, argv, 2, -1));
	if (strcmp(mode, "taken") == 0 && argc > 2)
		return drop_and_try(argv[2]);
	if (strcmp(mode, "unseen") == 0)
		return change_groups_unseen();
	return 2;
}
