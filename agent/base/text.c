/*
 * Bounded text building by hand. Context: signal; no state but the caller's.
 */
#include "sp_text.h"

void sp_text_init(struct sp_text *text, char *bytes, size_t capacity_bytes)
{
	text->bytes = bytes;
	text->capacity_bytes = capacity_bytes;
	text->used_bytes = 0;
	text->is_cut = false;
	if (capacity_bytes)
		bytes[0] = '\0';
}

void sp_text_char(struct sp_text *text, char c)
{
	if (text->used_bytes + 1 >= text->capacity_bytes) {
		text->is_cut = true;
		return;
	}
	text->bytes[text->used_bytes++] = c;
	text->bytes[text->used_bytes] = '\0';
}

void sp_text_string(struct sp_text *text, const char *string)
{
	while (*string)
		sp_text_char(text, *string++);
}

static void put_number(struct sp_text *text, uint64_t number, unsigned int base)
{
	char digits[20];
	unsigned int count = 0;

	do {
		digits[count++] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number);
	while (count)
		sp_text_char(text, digits[--count]);
}

void sp_text_decimal(struct sp_text *text, uint64_t number)
{
	put_number(text, number, 10);
}

void sp_text_hex(struct sp_text *text, uint64_t number)
{
	put_number(text, number, 16);
}

const char *sp_text_base_name(const char *path)
{
	const char *base = path;

	for (; *path; path++)
		if (*path == '/')
			base = path + 1;
	return base;
}
