/*
 * Putting small texts together without the C library's printf family, which is
 * not safe in a signal handler. Context: signal.
 */
#ifndef SP_TEXT_H
#define SP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A bounded text: always ends in NUL; is_cut tells that something did not fit. */
struct sp_text {
	char *bytes;
	size_t capacity_bytes, used_bytes;
	bool is_cut;
};

void sp_text_init(struct sp_text *text, char *bytes, size_t capacity_bytes);
void sp_text_char(struct sp_text *text, char c);
void sp_text_string(struct sp_text *text, const char *string);
void sp_text_decimal(struct sp_text *text, uint64_t number);
void sp_text_hex(struct sp_text *text, uint64_t number);

/* What follows the last slash. */
const char *sp_text_base_name(const char *path);

/* Of a text that was cut after so many bytes those before a part of a character, where
 * it is UTF-8. */
size_t sp_text_whole_bytes(const char *text, size_t size_bytes);

#endif
