/*
 * Reads numbers, sizes, durations and switches, and finds the word that was
 * probably meant. Written out instead of strtoull() and friends, which take a
 * locale, leading blanks and signs, and set errno. Context: signal; invariant:
 * nothing is written on failure but for the stated UINT64_MAX.
 */
#include "sp_options_value.h"

#include "sp_clock.h"
#include "sp_compiler.h"

#include <errno.h>
#include <string.h>

#define WORD_BYTES_MAX 47

struct unit {
	const char *suffix; /* lower case */
	uint64_t factor;
};

static char lower(char letter)
{
	return letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter;
}

static bool is_same_word(const char *one, const char *other)
{
	while (*one != '\0' && lower(*one) == lower(*other)) {
		one++;
		other++;
	}
	return *one == *other;
}

/* A number and one of the units; the first unit's suffix is "". */
static int parse_scaled(const char *text, const struct unit *units, size_t unit_count,
			uint64_t *value)
{
	uint64_t number = 0;
	bool is_too_large = false;
	size_t digits = 0;

	for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
		if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
		    __builtin_add_overflow(number, (uint64_t)(text[digits] - '0'),
					   &number))
			is_too_large = true;
	}
	if (digits == 0)
		return -EINVAL;

	for (size_t i = 0; i < unit_count; i++) {
		if (!is_same_word(text + digits, units[i].suffix))
			continue;
		if (is_too_large ||
		    __builtin_mul_overflow(number, units[i].factor, &number)) {
			*value = UINT64_MAX;
			return -ERANGE;
		}
		*value = number;
		return 0;
	}
	return -EINVAL;
}

int sp_value_number(const char *text, uint64_t *value)
{
	static const struct unit units[] = {{"", 1}};

	return parse_scaled(text, units, SP_ARRAY_COUNT(units), value);
}

int sp_value_size(const char *text, uint64_t *size_bytes)
{
	static const struct unit units[] = {
		{"", 1},
		{"k", UINT64_C(1) << 10},
		{"m", UINT64_C(1) << 20},
		{"g", UINT64_C(1) << 30},
	};

	return parse_scaled(text, units, SP_ARRAY_COUNT(units), size_bytes);
}

int sp_value_duration(const char *text, uint64_t *duration_ns)
{
	static const struct unit units[] = {
		{"", SP_NS_PER_SECOND},
		{"ns", 1},
		{"us", 1000},
		{"ms", 1000000},
		{"s", SP_NS_PER_SECOND},
		{"m", 60 * SP_NS_PER_SECOND},
		{"h", 3600 * SP_NS_PER_SECOND},
	};

	return parse_scaled(text, units, SP_ARRAY_COUNT(units), duration_ns);
}

int sp_value_probability(const char *text, uint64_t *millionths)
{
	uint64_t sum = 0, scale = 1000000;
	bool has_digits = false;

	if (is_same_word(text, "always")) {
		*millionths = scale;
		return 0;
	}
	for (; *text >= '0' && *text <= '9' && sum <= scale; text++) {
		sum = sum * 10 + (uint64_t)(*text - '0') * scale;
		has_digits = true;
	}
	text += *text == '.';
	for (; *text >= '0' && *text <= '9'; text++) {
		scale /= 10;
		sum += (uint64_t)(*text - '0') * scale;
		has_digits = true;
	}
	if (!has_digits || *text != '\0' || sum > 1000000)
		return -EINVAL;
	*millionths = sum;
	return 0;
}

int sp_value_switch(const char *text, bool *value)
{
	static const char *const words[][2] = {
		{"no", "yes"},
		{"off", "on"},
		{"false", "true"},
		{"0", "1"},
	};

	for (size_t i = 0; i < SP_ARRAY_COUNT(words); i++) {
		for (int is_set = 0; is_set <= 1; is_set++) {
			if (is_same_word(text, words[i][is_set])) {
				*value = is_set != 0;
				return 0;
			}
		}
	}
	return -EINVAL;
}

static char fold(char letter)
{
	return letter == ':' || letter == '-' ? '_' : lower(letter);
}

static unsigned int smaller(unsigned int one, unsigned int other)
{
	return one < other ? one : other;
}

unsigned int sp_word_distance(const char *one, size_t one_bytes, const char *other,
			      size_t other_bytes)
{
	/* distance[i][j]: between the first i letters of one and j of the other. */
	unsigned char distance[WORD_BYTES_MAX + 1][WORD_BYTES_MAX + 1];

	if (one_bytes > WORD_BYTES_MAX)
		one_bytes = WORD_BYTES_MAX;
	if (other_bytes > WORD_BYTES_MAX)
		other_bytes = WORD_BYTES_MAX;
	for (size_t i = 0; i <= one_bytes; i++)
		distance[i][0] = (unsigned char)i;
	for (size_t j = 0; j <= other_bytes; j++)
		distance[0][j] = (unsigned char)j;

	for (size_t i = 1; i <= one_bytes; i++) {
		for (size_t j = 1; j <= other_bytes; j++) {
			char a = fold(one[i - 1]), b = fold(other[j - 1]);
			unsigned int best = distance[i - 1][j - 1] + (a != b ? 1U : 0U);

			best = smaller(best, distance[i - 1][j] + 1U);
			best = smaller(best, distance[i][j - 1] + 1U);
			if (i > 1 && j > 1 && a == fold(other[j - 2]) &&
			    b == fold(one[i - 2]))
				best = smaller(best, distance[i - 2][j - 2] + 1U);
			distance[i][j] = (unsigned char)best;
		}
	}
	return distance[one_bytes][other_bytes];
}
