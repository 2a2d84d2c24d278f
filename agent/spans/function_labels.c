/*
 * Arguments of well-known functions that say what a call is about. Read only when the
 * label's key is one of SPANPROF_RECORD_LABELS, as they may hold what nobody else should
 * see, and cut. Context: hook.
 */
#include "span_functions.h"

#include "sp_span_capture.h"

#include <string.h>

#define VALUE_BYTES_MAX 64U

struct sp_function_label {
	const char *function;
	uint8_t text;  /* which argument is a C string, 1 to 6 */
	uint8_t bytes; /* which is its length, an int, negative = ends in 0; 0: none */
	const char *key;
};

static const struct sp_function_label labels[] = {
	{"sqlite3_prepare", 2, 3, "db.statement"},
	{"sqlite3_prepare_v2", 2, 3, "db.statement"},
	{"sqlite3_prepare_v3", 2, 3, "db.statement"},
	{"sqlite3_exec", 2, 0, "db.statement"},
	{"PQexec", 2, 0, "db.statement"},
	{"PQexecParams", 2, 0, "db.statement"},
	{"PQprepare", 3, 0, "db.statement"},
	{"PQsendQuery", 2, 0, "db.statement"},
	{"PQsendQueryParams", 2, 0, "db.statement"},
	{"mysql_query", 2, 0, "db.statement"},
	{"mysql_real_query", 2, 3, "db.statement"},
	{"mysql_stmt_prepare", 2, 3, "db.statement"},
	{"getaddrinfo", 1, 0, "net.peer.name"},
	{"fopen", 1, 0, "file.path"},
	{"fopen64", 1, 0, "file.path"},
	{"open", 1, 0, "file.path"},
	{"open64", 1, 0, "file.path"},
	{"openat", 2, 0, "file.path"},
	{"openat64", 2, 0, "file.path"},
};

const struct sp_function_label *sp_function_label_of(const char *name)
{
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		if (strcmp(labels[i].function, name) == 0)
			return sp_span_is_label_recorded(labels[i].key) ? &labels[i]
									: NULL;
	return NULL;
}

/* A character of UTF-8 is kept whole or not at all. */
static size_t cut_bytes(const char *value, size_t bytes)
{
	size_t start = bytes;

	while (start > 0 && bytes - start < 4 && (value[start - 1] & 0xc0) == 0x80)
		start--;
	return start > 0 && (value[start - 1] & 0x80) ? start - 1 : bytes;
}

void sp_function_label(const struct sp_function_label *label, uint64_t span,
		       const uint64_t arguments[6])
{
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	const char *text = (const char *)arguments[label->text - 1];
	size_t bytes_max = VALUE_BYTES_MAX, bytes = 0;
	char value[VALUE_BYTES_MAX + 1];

	if (!text)
		return;
	if (label->bytes && (int32_t)arguments[label->bytes - 1] >= 0 &&
	    (uint32_t)arguments[label->bytes - 1] < bytes_max)
		bytes_max = (uint32_t)arguments[label->bytes - 1];
	for (; bytes < bytes_max && text[bytes]; bytes++)
		value[bytes] = (unsigned char)text[bytes] < ' ' ? ' ' : text[bytes];
	if (bytes == VALUE_BYTES_MAX)
		bytes = cut_bytes(value, bytes);
	value[bytes] = '\0';
	sp_span_label(span, label->key, value);
}
