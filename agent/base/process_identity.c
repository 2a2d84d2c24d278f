/*
 * Identity of a process from /proc, by raw system calls. Context: signal.
 */
#include "sp_process_identity.h"

#include "sp_syscall.h"
#include "sp_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

/* In the field of flags (the kernel's include/linux/sched.h): io_uring's threads, and
 * since Linux 6.4 vhost's too. */
#define PF_IO_WORKER UINT64_C(0x10)
#define PF_USER_WORKER UINT64_C(0x4000)

#define OF_MAIN_THREAD "/proc/self/"
#define OF_THREAD "/proc/thread-self/"

static int open_in(const char *folder, const char *name)
{
	char path[64];
	struct sp_text text;

	sp_text_init(&text, path, sizeof(path));
	sp_text_string(&text, folder);
	sp_text_string(&text, name);
	return (int)sp_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

/* The program goes with the memory. */
static bool has_main_thread_memory(void)
{
	char byte;

	return sp_syscall4(SYS_readlinkat, AT_FDCWD, OF_MAIN_THREAD "exe", &byte, 1) !=
	       -ENOENT;
}

int sp_process_open(const char *name)
{
	int fd = open_in(OF_MAIN_THREAD, name);

	/* Asked last: while it had memory, that was opened. */
	if (has_main_thread_memory())
		return fd;
	if (fd >= 0)
		sp_syscall1(SYS_close, fd);
	return open_in(OF_THREAD, name);
}

size_t sp_process_read_file(const char *path, char *out, size_t out_bytes)
{
	return sp_process_read_open(
		(int)sp_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0),
		out, out_bytes);
}

size_t sp_process_read_task(int tid, const char *name, char *out, size_t out_bytes)
{
	char path[64];
	struct sp_text text;

	sp_text_init(&text, path, sizeof(path));
	sp_text_string(&text, OF_MAIN_THREAD "task/");
	sp_text_decimal(&text, (uint64_t)tid);
	sp_text_char(&text, '/');
	sp_text_string(&text, name);
	return sp_process_read_file(path, out, out_bytes);
}

size_t sp_process_read_open(int fd, char *out, size_t out_bytes)
{
	size_t used = 0;

	while (fd >= 0 && used + 1 < out_bytes) {
		long got = sp_syscall3(SYS_read, fd, out + used, out_bytes - 1 - used);

		if (got <= 0)
			break;
		used += (size_t)got;
	}
	if (fd >= 0)
		sp_syscall1(SYS_close, fd);
	if (out_bytes)
		out[used] = '\0';
	return used;
}

static uint64_t hash_text(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return hash;
}

/* Fields are counted from 1; the second is in parentheses and may hold anything. */
static const char *find_field(const char *stat, unsigned int number)
{
	const char *at = strrchr(stat, ')');

	for (unsigned int field = 2; at && *at && field < number; field++) {
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return at ? at : "";
}

static uint64_t parse_number(const char *at)
{
	uint64_t number = 0;

	for (; *at >= '0' && *at <= '9'; at++)
		number = number * 10 + (uint64_t)(*at - '0');
	return number;
}

/* Of a process that is over and waits for its parent to ask; one whose first thread is
 * over looks the same but for the number of its threads. */
static bool is_over(const char *stat)
{
	char state = *find_field(stat, 3);

	return (state == 'Z' || state == 'X') && parse_number(find_field(stat, 20)) <= 1;
}

void sp_process_identity_read(struct sp_process_identity *identity, int pid)
{
	char text[1024];
	char path[32];
	struct sp_text name;
	struct stat status;

	sp_process_read_file("/proc/sys/kernel/random/boot_id", text, sizeof(text));
	identity->boot_id_hash = *text ? hash_text(text) : 0;
	identity->pid_namespace = 0;
	if (sp_syscall4(SYS_newfstatat, AT_FDCWD, "/proc/thread-self/ns/pid", &status,
			0) == 0)
		identity->pid_namespace = status.st_ino;
	sp_text_init(&name, path, sizeof(path));
	sp_text_string(&name, "/proc/");
	sp_text_decimal(&name, (uint64_t)pid);
	sp_text_string(&name, "/stat");
	sp_process_read_file(path, text, sizeof(text));
	identity->start_ticks = is_over(text) ? 0 : parse_number(find_field(text, 22));
}

bool sp_process_is_kernel_worker(int tid)
{
	char text[1024];

	sp_process_read_task(tid, "stat", text, sizeof(text));
	return parse_number(find_field(text, 9)) & (PF_IO_WORKER | PF_USER_WORKER);
}
