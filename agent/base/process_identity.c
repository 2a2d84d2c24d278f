/*
 * Identity of a process from /proc, by raw system calls. Context: signal.
 */
#include "sp_process_identity.h"

#include "sp_syscall.h"
#include "sp_text.h"

#include <fcntl.h>
#include <sys/stat.h>

size_t sp_process_read_file(const char *path, char *out, size_t out_bytes)
{
	int fd = (int)sp_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
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

/* Field 22; the second field is in parentheses and may hold anything. */
static uint64_t parse_start_ticks(const char *stat)
{
	const char *at = NULL;
	uint64_t ticks = 0;

	for (; *stat; stat++)
		if (*stat == ')')
			at = stat;
	for (unsigned int field = 2; at && field < 22; field++) {
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	for (; at && *at >= '0' && *at <= '9'; at++)
		ticks = ticks * 10 + (uint64_t)(*at - '0');
	return ticks;
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
	if (sp_syscall4(SYS_newfstatat, AT_FDCWD, "/proc/self/ns/pid", &status, 0) == 0)
		identity->pid_namespace = status.st_ino;
	sp_text_init(&name, path, sizeof(path));
	sp_text_string(&name, "/proc/");
	sp_text_decimal(&name, (uint64_t)pid);
	sp_text_string(&name, "/stat");
	sp_process_read_file(path, text, sizeof(text));
	identity->start_ticks = parse_start_ticks(text);
}
