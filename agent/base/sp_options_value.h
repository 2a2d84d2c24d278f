/*
 * Text to values, for the option parser. Context of everything here: signal.
 */
#ifndef SP_OPTIONS_VALUE_H
#define SP_OPTIONS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Decimal digits only. 0; -EINVAL if it is not a number; -ERANGE if it is one that
 * does not fit, with *value = UINT64_MAX.
 */
int sp_value_number(const char *text, uint64_t *value);

/* As sp_value_number(), with an optional K, M or G (of 1024), either case. */
int sp_value_size(const char *text, uint64_t *size_bytes);

/* As sp_value_number(), with ns, us, ms, s, m or h; a bare number is seconds. */
int sp_value_duration(const char *text, uint64_t *duration_ns);

/* "always", or a decimal number from 0 to 1 of which six decimals count. 0 or -EINVAL. */
int sp_value_probability(const char *text, uint64_t *millionths);

/* yes/no, on/off, true/false, 1/0, either case. 0 or -EINVAL. */
int sp_value_switch(const char *text, bool *value);

/*
 * How many letters one has to insert, delete, replace or swap with their neighbour
 * to make one word of the other. Case does not count, nor do the differences
 * between ':', '-' and '_'. Only the first 47 bytes are looked at.
 */
unsigned int sp_word_distance(const char *one, size_t one_bytes, const char *other,
			      size_t other_bytes);

#endif
