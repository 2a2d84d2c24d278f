/*
 * Texts that say what a call of a well-known function is about: arguments, and what the
 * function's own library says of the object that it is called for. Read only when the
 * label's key is one of SPANPROF_RECORD_LABELS, as they may hold what nobody else should
 * see; cut; and with care, as the function itself might have refused them unread.
 * Context: hook.
 */
#include "span_functions.h"

#include "sp_guarded.h"
#include "sp_next.h"
#include "sp_pages.h"
#include "sp_span_capture.h"
#include "sp_text.h"

#include <dlfcn.h>
#include <string.h>

#pragma weak _dl_find_object

/* Asks a library of the object that is the call's first argument; NULL: nothing. */
typedef const char *(*ask_text)(uint64_t function, uint64_t object);

struct sp_function_label {
	const char *function;
	uint8_t text;  /* which argument is a C string, 1 to 6; 0: the library is asked */
	uint8_t bytes; /* which is its length, an int, negative = ends in 0; 0: none */
	const char *key;
	const char *getter; /* function of that library, and how it is called */
	ask_text ask;
};

/* --- what libraries say --- */

#define CURLINFO_EFFECTIVE_URL (0x100000 + 1)
#define TLSEXT_NAMETYPE_HOST_NAME 0

/* curl_easy_getinfo() */
static const char *ask_curl(uint64_t function, uint64_t object)
{
	const char *url = NULL;

	// NOLINTBEGIN(performance-no-int-to-ptr)
	return ((int (*)(void *, int, ...))function)((void *)object,
						     CURLINFO_EFFECTIVE_URL, &url) == 0
		       ? url
		       : NULL;
	// NOLINTEND(performance-no-int-to-ptr)
}

/* SSL_get_servername() */
static const char *ask_ssl(uint64_t function, uint64_t object)
{
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	return ((const char *(*)(const void *, int))function)(
		(const void *)object, TLSEXT_NAMETYPE_HOST_NAME); // NOLINT
}

/* target is running, so its library stays loaded. */
static uint64_t ask(const struct sp_function_label *label, uint64_t target,
		    uint64_t object)
{
	struct dl_find_object library;
	void *getter;

	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	if (!object || !_dl_find_object || _dl_find_object((void *)target, &library) != 0)
		return 0;
	getter = sp_next_find_in(library.dlfo_link_map, label->getter, NULL);
	return getter ? (uint64_t)(uintptr_t)label->ask((uint64_t)(uintptr_t)getter,
							object)
		      : 0;
}

/* --- the table --- */

#define TEXT(function_, text_, key_)                                                     \
	{                                                                                \
		.function = function_, .text = text_, .key = key_                        \
	}
#define COUNTED(function_, text_, bytes_, key_)                                          \
	{                                                                                \
		.function = function_, .text = text_, .bytes = bytes_, .key = key_       \
	}
#define ASKED(function_, getter_, ask_, key_)                                            \
	{                                                                                \
		.function = function_, .getter = getter_, .ask = ask_, .key = key_       \
	}

static const struct sp_function_label labels[] = {
	COUNTED("sqlite3_prepare", 2, 3, "db.statement"),
	COUNTED("sqlite3_prepare_v2", 2, 3, "db.statement"),
	COUNTED("sqlite3_prepare_v3", 2, 3, "db.statement"),
	TEXT("sqlite3_exec", 2, "db.statement"),
	TEXT("sqlite3_get_table", 2, "db.statement"),
	TEXT("PQexec", 2, "db.statement"),
	TEXT("PQexecParams", 2, "db.statement"),
	TEXT("PQexecPrepared", 2, "db.statement"),
	TEXT("PQprepare", 3, "db.statement"),
	TEXT("PQsendQuery", 2, "db.statement"),
	TEXT("PQsendQueryParams", 2, "db.statement"),
	TEXT("PQsendQueryPrepared", 2, "db.statement"),
	TEXT("PQsendPrepare", 3, "db.statement"),
	TEXT("mysql_query", 2, "db.statement"),
	COUNTED("mysql_real_query", 2, 3, "db.statement"),
	COUNTED("mysql_send_query", 2, 3, "db.statement"),
	COUNTED("mysql_stmt_prepare", 2, 3, "db.statement"),
	COUNTED("SQLExecDirect", 2, 3, "db.statement"),
	COUNTED("SQLPrepare", 2, 3, "db.statement"),
	TEXT("redisCommand", 2, "db.statement"),
	ASKED("curl_easy_perform", "curl_easy_getinfo", ask_curl, "url.full"),
	ASKED("SSL_connect", "SSL_get_servername", ask_ssl, "server.address"),
	ASKED("SSL_do_handshake", "SSL_get_servername", ask_ssl, "server.address"),
	ASKED("SSL_read", "SSL_get_servername", ask_ssl, "server.address"),
	ASKED("SSL_read_ex", "SSL_get_servername", ask_ssl, "server.address"),
	ASKED("SSL_write", "SSL_get_servername", ask_ssl, "server.address"),
	ASKED("SSL_write_ex", "SSL_get_servername", ask_ssl, "server.address"),
	TEXT("getaddrinfo", 1, "server.address"),
	TEXT("gethostbyname", 1, "server.address"),
	TEXT("fopen", 1, "file.path"),
	TEXT("fopen64", 1, "file.path"),
	TEXT("open", 1, "file.path"),
	TEXT("open64", 1, "file.path"),
	TEXT("openat", 2, "file.path"),
	TEXT("openat64", 2, "file.path"),
	TEXT("system", 1, "process.command"),
	TEXT("popen", 1, "process.command"),
};

const struct sp_function_label *sp_function_label_of(const char *name)
{
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		if (strcmp(labels[i].function, name) == 0)
			return sp_span_is_label_recorded(labels[i].key) ? &labels[i]
									: NULL;
	return NULL;
}

/* --- reading --- */

/* Of bytes_max bytes at address as many as come before a zero, and can be read. */
static size_t read_text(uint64_t address, char *value, size_t bytes_max)
{
	size_t done = 0;

	while (done < bytes_max) {
		size_t part = SP_PAGE_BYTES - (address + done) % SP_PAGE_BYTES;
		const char *end;

		if (part > bytes_max - done)
			part = bytes_max - done;
		if (!sp_guarded_read(address + done, value + done, part))
			break;
		end = memchr(value + done, '\0', part);
		if (end)
			return (size_t)(end - value);
		done += part;
	}
	return done;
}

bool sp_function_label_read(const struct sp_function_label *label, uint64_t target,
			    const uint64_t arguments[6],
			    char value[SP_FUNCTION_TEXT_BYTES])
{
	uint64_t text = label->text ? arguments[label->text - 1]
				    : ask(label, target, arguments[0]);
	size_t bytes_max = SP_FUNCTION_TEXT_BYTES - 1, bytes;

	if (!text)
		return false;
	if (label->bytes && (int32_t)arguments[label->bytes - 1] >= 0 &&
	    (uint32_t)arguments[label->bytes - 1] < bytes_max)
		bytes_max = (uint32_t)arguments[label->bytes - 1];
	bytes = read_text(text, value, bytes_max);
	if (bytes == SP_FUNCTION_TEXT_BYTES - 1)
		bytes = sp_text_whole_bytes(value, bytes);
	for (size_t i = 0; i < bytes; i++)
		if ((unsigned char)value[i] < ' ')
			value[i] = ' ';
	value[bytes] = '\0';
	return true;
}

void sp_function_label(const struct sp_function_label *label, uint64_t span,
		       const char *value)
{
	sp_span_label(span, label->key, value);
}
