/*
 * Reading the kernel's text files (/proc) line by line, without the C library.
 */
#ifndef SP_FILE_LINES_H
#define SP_FILE_LINES_H

#include <stdbool.h>
#include <stddef.h>

/* The line ends in NUL, in place of its newline. False: no more of them. */
typedef bool (*sp_file_line)(void *context, const char *line, size_t line_bytes);

/*
 * Context: signal; takes 4 KiB of stack. Of lines of 4 KiB and more only the rest after
 * a multiple of that is told. fd is closed; one that is negative has no lines.
 */
void sp_file_lines_read(int fd, sp_file_line visit, void *context);

#endif
