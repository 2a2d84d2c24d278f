/*
 * See folder.h. Context: collector.
 */
#include "folder.h"

#include "sp_syscall.h"

#include <fcntl.h>
#include <stdint.h>

/* As the kernel has it. */
struct entry {
	uint64_t inode;
	int64_t offset;
	unsigned short size_bytes;
	unsigned char type;
	char name[];
};

static int walk(int folder, sp_folder_visit visit, void *context)
{
	char buffer[4096] __attribute__((aligned(8)));
	long bytes;

	while ((bytes = sp_syscall3(SYS_getdents64, folder, buffer, sizeof(buffer))) >
	       0) {
		for (long at = 0; at < bytes;) {
			const struct entry *entry = (const void *)(buffer + at);

			at += entry->size_bytes;
			if (visit(context, folder, entry->name))
				return 1;
		}
	}
	return (int)bytes;
}

int sp_folder_walk(const char *path, sp_folder_visit visit, void *context)
{
	int folder = (int)sp_syscall4(SYS_openat, AT_FDCWD, path,
				      O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	int result;

	if (folder < 0)
		return folder;
	result = walk(folder, visit, context);
	sp_syscall1(SYS_close, folder);
	return result;
}
