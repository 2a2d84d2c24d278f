/*
 * fopen(): how many threads the kernel says the process has, without ours. Programs
 * ask for it to learn whether they are alone: Python warns of each fork() where they are
 * not. The stream is the real one, filled at once, with the number that is in its buffer
 * put right. What is read by open() shows our thread, and what is read a second time from
 * one stream: nobody knows when. Context: hook, cold.
 */
#include "sp_hooks.h"

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_next.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Of /proc/self/stat: the 18th after the name, which may have brackets of its own. */
#define STAT_FIELDS_BEFORE 18

static char *find_in_stat(char *text, char *end)
{
	char *at = end;
	int fields = 0;

	while (at > text && at[-1] != ')')
		at--;
	while (at < end && fields < STAT_FIELDS_BEFORE)
		fields += *at++ == ' ';
	return at;
}

static char *find_in_status(char *text, char *end)
{
	static const char key[] = "\nThreads:\t";
	const size_t key_bytes = sizeof(key) - 1;

	for (char *at = text; (size_t)(end - at) > key_bytes; at++)
		if (memcmp(at, key, key_bytes) == 0)
			return at + key_bytes;
	return end;
}

static bool is_digit(char letter)
{
	return letter >= '0' && letter <= '9';
}

/* The end of the last line that ends in the text; where none does, from. */
static char *last_line_end(char *from, char *end)
{
	while (end > from && end[-1] != '\n')
		end--;
	return end > from ? end - 1 : from;
}

/* One less in place; at least 2, and whole. The text stays as long as it was, as the
 * stream knows by that where in the file it is. */
static void take_one_off(char *number, char *end)
{
	char *last = number, *number_end;

	while (last + 1 < end && is_digit(last[1]))
		last++;
	number_end = last + 1;
	for (; *last == '0'; last--)
		*last = '9';
	--*last;
	/* "10" is "9" now; a blank at the end of a line is none of its fields. */
	if (*number == '0') {
		end = last_line_end(number_end, end);
		memmove(number, number + 1, (size_t)(end - number - 1));
		end[-1] = ' ';
	}
}

/* Is there a number above 1, the end of which is not the end of the text? */
static bool is_number_of_several(const char *number, const char *end)
{
	const char *at = number;

	while (at < end && is_digit(*at))
		at++;
	if (at == number || at == end || *number == '0')
		return false;
	return at > number + 1 || *number > '1';
}

static void leave_out_own_thread(FILE *stream, char *(*find)(char *text, char *end))
{
	int first = getc(stream);
	char *number;

	/* From here on its buffer has the text. */
	if (first == EOF || ungetc(first, stream) == EOF) {
		clearerr(stream);
		return;
	}
	number = find(stream->_IO_read_ptr, stream->_IO_read_end);
	if (is_number_of_several(number, stream->_IO_read_end))
		take_one_off(number, stream->_IO_read_end);
}

static SP_COLD FILE *open_counted(FILE *(*next)(const char *, const char *),
				  const char *path, const char *mode,
				  char *(*find)(char *text, char *end))
{
	FILE *stream = next(path, mode);
	int saved_errno = errno;

	if (stream && mode[strspn(mode, "rbe")] == '\0' && sp_hooks_own_calls() &&
	    atomic_load_explicit(&sp_capture.has_reporter_thread, memory_order_relaxed))
		leave_out_own_thread(stream, find);
	errno = saved_errno;
	return stream;
}

static FILE *open_stream(FILE *(*next)(const char *, const char *), const char *path,
			 const char *mode)
{
	static const char folder[] = "/proc/self/stat";

	if (sp_likely(!path || strncmp(path, folder, sizeof(folder) - 1) != 0))
		return next(path, mode);
	if (path[sizeof(folder) - 1] == '\0')
		return open_counted(next, path, mode, find_in_stat);
	if (strcmp(path + sizeof(folder) - 1, "us") == 0)
		return open_counted(next, path, mode, find_in_status);
	return next(path, mode);
}

SP_EXPORT FILE *fopen(const char *path, const char *mode)
{
	return open_stream(SP_NEXT(fopen), path, mode);
}

SP_EXPORT FILE *fopen64(const char *path, const char *mode)
{
	return open_stream(SP_NEXT(fopen64), path, mode);
}

/* Of this file and of that which looks at the links of the threads' folder. */
bool sp_hooks_may_be_span(const char *name)
{
	static const char *const names[] = {
		"fopen",    "fopen64",	  "stat",	"stat64",	"lstat",
		"lstat64",  "fstatat",	  "fstatat64",	"__xstat",	"__xstat64",
		"__lxstat", "__lxstat64", "__fxstatat", "__fxstatat64",
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}
