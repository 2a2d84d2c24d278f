/*
 * A reader of Rust's v0 mangling that prints nothing: it only finds out where the
 * identifiers are and whether one of them is in Punycode. Runs on the reporter
 * thread. Invariant: one pass, bounded depth; a name it does not understand is not
 * "plain".
 */
#include "sp_demangle.h"

#include <stdint.h>
#include <string.h>

#define DEPTH_MAX 128

struct v0 {
	const char *at;
	int depth;
	bool is_plain;
};

static bool read_type(struct v0 *v0);
static bool read_path(struct v0 *v0);

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool accept(struct v0 *v0, char c)
{
	if (*v0->at != c)
		return false;
	v0->at++;
	return true;
}

/* Digits and letters up to "_". */
static bool read_base62(struct v0 *v0)
{
	while (is_digit(*v0->at) || (*v0->at >= 'a' && *v0->at <= 'z') ||
	       (*v0->at >= 'A' && *v0->at <= 'Z'))
		v0->at++;
	return accept(v0, '_');
}

static bool read_plain_identifier(struct v0 *v0)
{
	size_t length = 0;

	if (accept(v0, 'u'))
		v0->is_plain = false;
	if (!is_digit(*v0->at))
		return false;
	if (!accept(v0, '0')) {
		while (is_digit(*v0->at) && length <= SP_DEMANGLE_INPUT_BYTES_MAX)
			length = length * 10 + (size_t)(*v0->at++ - '0');
	}
	(void)accept(v0, '_');
	if (strnlen(v0->at, length) < length)
		return false;
	v0->at += length;
	return true;
}

static bool read_identifier(struct v0 *v0)
{
	if (accept(v0, 's') && !read_base62(v0))
		return false;
	return read_plain_identifier(v0);
}

static bool read_impl_path(struct v0 *v0)
{
	if (accept(v0, 's') && !read_base62(v0))
		return false;
	return read_path(v0);
}

/* The value is hexadecimal, of a type named before. */
static bool read_const(struct v0 *v0)
{
	if (accept(v0, 'p'))
		return true;
	if (accept(v0, 'B'))
		return read_base62(v0);
	if (*v0->at < 'a' || *v0->at > 'z')
		return false; /* structured values: no stable compiler writes them here */
	v0->at++;
	(void)accept(v0, 'n');
	while (is_digit(*v0->at) || (*v0->at >= 'a' && *v0->at <= 'f'))
		v0->at++;
	return accept(v0, '_');
}

static bool read_generics(struct v0 *v0)
{
	while (!accept(v0, 'E')) {
		if (accept(v0, 'L')) {
			if (!read_base62(v0))
				return false;
		} else if (accept(v0, 'K')) {
			if (!read_const(v0))
				return false;
		} else if (!read_type(v0)) {
			return false;
		}
	}
	return true;
}

static bool read_path_of_kind(struct v0 *v0, char kind)
{
	switch (kind) {
	case 'C':
		return read_identifier(v0);
	case 'M':
		return read_impl_path(v0) && read_type(v0);
	case 'X':
		return read_impl_path(v0) && read_type(v0) && read_path(v0);
	case 'Y':
		return read_type(v0) && read_path(v0);
	case 'N':
		if (*v0->at == '\0')
			return false;
		v0->at++; /* namespace */
		return read_path(v0) && read_identifier(v0);
	case 'I':
		return read_path(v0) && read_generics(v0);
	case 'B':
		return read_base62(v0);
	default:
		return false;
	}
}

static bool read_path(struct v0 *v0)
{
	bool is_read;

	if (*v0->at == '\0' || v0->depth == DEPTH_MAX)
		return false;
	v0->depth++;
	is_read = read_path_of_kind(v0, *v0->at++);
	v0->depth--;
	return is_read;
}

static bool read_function_type(struct v0 *v0)
{
	if (accept(v0, 'G') && !read_base62(v0))
		return false;
	(void)accept(v0, 'U');
	if (accept(v0, 'K') && !accept(v0, 'C') && !read_plain_identifier(v0))
		return false;
	while (!accept(v0, 'E'))
		if (!read_type(v0))
			return false;
	return read_type(v0);
}

static bool read_dyn_type(struct v0 *v0)
{
	if (accept(v0, 'G') && !read_base62(v0))
		return false;
	while (!accept(v0, 'E')) {
		if (!read_path(v0))
			return false;
		while (accept(v0, 'p'))
			if (!read_plain_identifier(v0) || !read_type(v0))
				return false;
	}
	return accept(v0, 'L') && read_base62(v0);
}

static bool read_type_of_kind(struct v0 *v0, char kind)
{
	if (kind >= 'a' && kind <= 'z')
		return true;
	switch (kind) {
	case 'A':
		return read_type(v0) && read_const(v0);
	case 'S':
	case 'P':
	case 'O':
		return read_type(v0);
	case 'R':
	case 'Q':
		if (accept(v0, 'L') && !read_base62(v0))
			return false;
		return read_type(v0);
	case 'T':
		while (!accept(v0, 'E'))
			if (!read_type(v0))
				return false;
		return true;
	case 'F':
		return read_function_type(v0);
	case 'D':
		return read_dyn_type(v0);
	default:
		return read_path_of_kind(v0, kind);
	}
}

static bool read_type(struct v0 *v0)
{
	bool is_read;

	if (*v0->at == '\0' || v0->depth == DEPTH_MAX)
		return false;
	v0->depth++;
	is_read = read_type_of_kind(v0, *v0->at++);
	v0->depth--;
	return is_read;
}

/* Punycode is written "u" and a length: without such a pair there is none. */
static bool has_punycode_mark(const char *name)
{
	for (; *name; name++)
		if (name[0] == 'u' && is_digit(name[1]))
			return true;
	return false;
}

bool sp_rust_v0_is_plain(const char *name)
{
	struct v0 v0 = {.at = name + 2, .is_plain = true};

	if (!has_punycode_mark(name))
		return true;
	while (is_digit(*v0.at))
		v0.at++;
	if (!read_path(&v0))
		return false;
	/* The crate that made this instance may follow, then the toolchain's suffix. */
	if (*v0.at >= 'A' && *v0.at <= 'Z' && !read_path(&v0))
		return false;
	return v0.is_plain && (*v0.at == '\0' || *v0.at == '.' || *v0.at == '$');
}
