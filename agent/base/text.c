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

size_t sp_text_whole_bytes(const char *text, size_t size_bytes)
{
	size_t start = size_bytes, character_bytes = 1;
	unsigned char first;

	while (start > 0 && size_bytes - start < 3 && (text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0)
		return size_bytes;
	first = (unsigned char)text[start - 1];
	if (first >= 0xc0)
		character_bytes = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	return character_bytes > size_bytes - start + 1 ? start - 1 : size_bytes;
}
