/*
 * Text that protobuf accepts. Paths and names of threads are bytes, a protobuf
 * string is UTF-8, and readers refuse a whole file for one wrong byte.
 */
#ifndef SP_UTF8_H
#define SP_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* What one wrong byte becomes: "\xff". */
#define SP_UTF8_ESCAPE_BYTES 4

/* Context: signal. No surrogates, no overlong forms, nothing past U+10FFFF. */
bool sp_utf8_is_valid(const char *text, size_t text_bytes);

/*
 * Context: signal. Copies text with every byte that belongs to no character
 * written as \xNN. out has room for SP_UTF8_ESCAPE_BYTES * text_bytes + 1;
 * returns the length without the final zero.
 */
size_t sp_utf8_escape(const char *text, size_t text_bytes, char *out);

/*
 * Context: signal. The longest length not above limit_bytes that splits no
 * character of valid text.
 */
size_t sp_utf8_cut(const char *text, size_t limit_bytes);

#endif
