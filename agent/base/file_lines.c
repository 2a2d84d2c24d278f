/*
 * See sp_file_lines.h. A buffer that always begins with the begin of a line, but for
 * those that are too long. Context: signal.
 */
#include "sp_file_lines.h"

#include "sp_syscall.h"

#include <string.h>

#define BUFFER_BYTES 4096U

/* How much of the buffer's begin is done with; all of it once nobody wants more. */
static size_t tell_lines(char *buffer, size_t used, sp_file_line visit, void *context,
			 bool *is_wanted)
{
	char *line = buffer, *end;

	while (*is_wanted && (end = memchr(line, '\n', used - (size_t)(line - buffer)))) {
		*end = '\0';
		*is_wanted = visit(context, line, (size_t)(end - line));
		line = end + 1;
	}
	return (size_t)(line - buffer);
}

void sp_file_lines_read(int fd, sp_file_line visit, void *context)
{
	char buffer[BUFFER_BYTES];
	bool is_wanted = true;
	size_t used = 0;
	long got;

	if (fd < 0)
		return;
	while (is_wanted && (got = sp_syscall3(SYS_read, fd, buffer + used,
					       BUFFER_BYTES - used)) > 0) {
		size_t done;

		used += (size_t)got;
		done = tell_lines(buffer, used, visit, context, &is_wanted);
		used -= done;
		memmove(buffer, buffer + done, used);
		if (used == BUFFER_BYTES)
			used = 0;
	}
	sp_syscall1(SYS_close, fd);
}
