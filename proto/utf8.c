/*
 * UTF-8: recognised, escaped where it is not, and cut between characters.
 * Context: signal; pure functions over the caller's memory. What sp_utf8_escape()
 * returns is always valid.
 */
#include "sp_utf8.h"

#include <stdint.h>
#include <string.h>

static bool is_continuation(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

/* Bytes of the character that starts the text, 0 if none does. */
static size_t character_bytes(const uint8_t *text, size_t text_bytes)
{
	uint8_t first = text[0], second_min = 0x80, second_max = 0xbf;
	size_t size_bytes;

	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	size_bytes = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	if (text_bytes < size_bytes)
		return 0;
	/* The second byte tells overlong forms, surrogates and what lies past the
	 * last plane. */
	if (first == 0xe0)
		second_min = 0xa0;
	else if (first == 0xed)
		second_max = 0x9f;
	else if (first == 0xf0)
		second_min = 0x90;
	else if (first == 0xf4)
		second_max = 0x8f;
	if (text[1] < second_min || text[1] > second_max)
		return 0;
	for (size_t i = 2; i < size_bytes; i++) {
		if (!is_continuation(text[i]))
			return 0;
	}
	return size_bytes;
}

bool sp_utf8_is_valid(const char *text, size_t text_bytes)
{
	const uint8_t *bytes = (const uint8_t *)text;

	for (size_t at = 0; at < text_bytes;) {
		size_t size_bytes = character_bytes(bytes + at, text_bytes - at);

		if (size_bytes == 0)
			return false;
		at += size_bytes;
	}
	return true;
}

size_t sp_utf8_escape(const char *text, size_t text_bytes, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = (const uint8_t *)text;
	char *end = out;

	for (size_t at = 0; at < text_bytes;) {
		size_t size_bytes = character_bytes(bytes + at, text_bytes - at);

		if (size_bytes > 0) {
			memcpy(end, bytes + at, size_bytes);
			end += size_bytes;
			at += size_bytes;
			continue;
		}
		*end++ = '\\';
		*end++ = 'x';
		*end++ = digits[bytes[at] >> 4];
		*end++ = digits[bytes[at] & 0xf];
		at++;
	}
	*end = '\0';
	return (size_t)(end - out);
}

size_t sp_utf8_cut(const char *text, size_t limit_bytes)
{
	size_t size_bytes = limit_bytes;

	/* No character has more than three bytes after its first. */
	while (size_bytes > 0 && limit_bytes - size_bytes < 3 &&
	       is_continuation((uint8_t)text[size_bytes]))
		size_bytes--;
	return size_bytes;
}
