/*
 * See libc_calls.h. The C library's functions are found in its own tables, as the loader
 * would name those of another object first. The plain ones serve what runs before our
 * constructor; the compiler must not make calls of memcpy() of them, which would come
 * back here. Context: signal, but for the binding.
 */
#include "libc_calls.h"

#include "sp_compiler.h"
#include "sp_next.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static void *plain_memmove(void *to, const void *from, size_t bytes)
{
	const unsigned char *source = from;
	unsigned char *target = to;

	if ((uintptr_t)target - (uintptr_t)source >= bytes) {
		for (size_t i = 0; i < bytes; i++)
			target[i] = source[i];
	} else {
		while (bytes--)
			target[bytes] = source[bytes];
	}
	return to;
}

static void *plain_memset(void *to, int value, size_t bytes)
{
	unsigned char *target = to;

	for (size_t i = 0; i < bytes; i++)
		target[i] = (unsigned char)value;
	return to;
}

static int plain_memcmp(const void *left, const void *right, size_t bytes)
{
	const unsigned char *one = left, *other = right;

	for (size_t i = 0; i < bytes; i++)
		if (one[i] != other[i])
			return one[i] - other[i];
	return 0;
}

static void *plain_memchr(const void *in, int value, size_t bytes)
{
	const unsigned char *at = in;

	for (; bytes; bytes--, at++)
		if (*at == (unsigned char)value)
			return (void *)(uintptr_t)at;
	return NULL;
}

static size_t plain_strnlen(const char *text, size_t bytes_max)
{
	size_t length = 0;

	while (length < bytes_max && text[length])
		length++;
	return length;
}

static size_t plain_strlen(const char *text)
{
	return plain_strnlen(text, SIZE_MAX);
}

static int plain_strncmp(const char *left, const char *right, size_t bytes_max)
{
	const unsigned char *one = (const void *)left, *other = (const void *)right;

	for (size_t i = 0; i < bytes_max; i++)
		if (one[i] != other[i] || !one[i])
			return one[i] - other[i];
	return 0;
}

static int plain_strcmp(const char *left, const char *right)
{
	return plain_strncmp(left, right, SIZE_MAX);
}

static char *plain_strchr(const char *text, int letter)
{
	while (*text != (char)letter)
		if (!*text++)
			return NULL;
	return (char *)(uintptr_t)text;
}

static char *plain_strrchr(const char *text, int letter)
{
	const char *last = NULL;

	do {
		if (*text == (char)letter)
			last = text;
	} while (*text++);
	return (char *)(uintptr_t)last;
}

/* Of the text's letters, the first so many that are, or are not, among those. */
static size_t span(const char *text, const char *letters, bool are_among)
{
	size_t length = 0;

	while (text[length] && (plain_strchr(letters, text[length]) != NULL) == are_among)
		length++;
	return length;
}

static size_t plain_strspn(const char *text, const char *letters)
{
	return span(text, letters, true);
}

static size_t plain_strcspn(const char *text, const char *letters)
{
	return span(text, letters, false);
}

static char *plain_strstr(const char *text, const char *wanted)
{
	size_t length = plain_strlen(wanted);

	for (; plain_strncmp(text, wanted, length) != 0; text++)
		if (!*text)
			return NULL;
	return (char *)(uintptr_t)text;
}

static char *plain_strncpy(char *to, const char *from, size_t bytes)
{
	size_t length = plain_strnlen(from, bytes);

	plain_memmove(to, from, length);
	plain_memset(to + length, 0, bytes - length);
	return to;
}

static char *plain_strcpy(char *to, const char *from)
{
	return plain_memmove(to, from, plain_strlen(from) + 1);
}

/* libc_calls.S reads them; written once, by the constructor. */
#define LIBC_CALLS(call)                                                                 \
	call(bcmp, plain_memcmp);                                                        \
	call(memchr, plain_memchr);                                                      \
	call(memcmp, plain_memcmp);                                                      \
	call(memcpy, plain_memmove);                                                     \
	call(memmove, plain_memmove);                                                    \
	call(memset, plain_memset);                                                      \
	call(strchr, plain_strchr);                                                      \
	call(strcmp, plain_strcmp);                                                      \
	call(strcpy, plain_strcpy);                                                      \
	call(strcspn, plain_strcspn);                                                    \
	call(strlen, plain_strlen);                                                      \
	call(strncmp, plain_strncmp);                                                    \
	call(strncpy, plain_strncpy);                                                    \
	call(strnlen, plain_strnlen);                                                    \
	call(strrchr, plain_strrchr);                                                    \
	call(strspn, plain_strspn);                                                      \
	call(strstr, plain_strstr)

#define DEFINE(name, plain)                                                              \
	__attribute__((visibility("hidden"))) void *_Atomic sp_libc_##name =             \
		(void *)(uintptr_t)(plain)

LIBC_CALLS(DEFINE);

static void bind(const struct link_map *libc, const char *name, void *_Atomic *call)
{
	void *found = sp_next_find_in(libc, name, NULL);

	/* Relaxed: the code was there before this thread. */
	if (found)
		atomic_store_explicit(call, found, memory_order_relaxed);
}

void sp_libc_calls_bind(void)
{
	const struct link_map *libc = sp_next_find_object("gnu_get_libc_version");

	if (!libc)
		return;
#define BIND(name, plain) bind(libc, #name, &sp_libc_##name)
	LIBC_CALLS(BIND);
}
