/*
 * span_labels: calls functions that are well known for a text among their arguments
 * (lib_span_labels.c), and those of the C library, each with one that says which it was.
 */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

/* 64 bytes and more: the character in the middle of the cut goes as a whole. */
#define LONG_TEXT                                                                        \
	"select 'abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz a\xc3\xa4' "      \
	"as long"

#define SECOND(name)                                                                     \
	int name(void *object, const char *text);                                        \
	static int call_##name(void)                                                     \
	{                                                                                \
		return name(NULL, "of " #name "\nand more");                             \
	}
#define THIRD(name)                                                                      \
	int name(void *object, const char *statement, const char *text);                 \
	static int call_##name(void)                                                     \
	{                                                                                \
		return name(NULL, "a name", "of " #name "\nand more");                   \
	}
/* Only so many bytes are the text. */
#define COUNTED(name)                                                                    \
	int name(void *object, const char *text, long bytes);                            \
	static int call_##name(void)                                                     \
	{                                                                                \
		return name(NULL, "of " #name "\nand more and more",                     \
			    (long)strlen("of " #name "\nand more"));                     \
	}

#include "span_label_functions.h"
int redisCommand(void *object, const char *text);
int SSL_connect(void *object);

static int call_libc(void)
{
	struct addrinfo *found = NULL;
	FILE *file = fopen("/dev/null", "r");
	FILE *command = popen("exit 0", "r");
	int result = getaddrinfo("127.0.0.1", NULL, NULL, &found);

	if (!file || !command || result != 0)
		return 1;
	freeaddrinfo(found);
	return fclose(file) + pclose(command);
}

int main(void)
{
	static int (*const calls[])(void) = {
		call_sqlite3_prepare,	 call_sqlite3_prepare_v2,
		call_sqlite3_prepare_v3, call_sqlite3_exec,
		call_sqlite3_get_table,	 call_PQexec,
		call_PQexecParams,	 call_PQexecPrepared,
		call_PQprepare,		 call_PQsendQuery,
		call_PQsendQueryParams,	 call_PQsendQueryPrepared,
		call_PQsendPrepare,	 call_mysql_query,
		call_mysql_real_query,	 call_mysql_send_query,
		call_mysql_stmt_prepare, call_SQLExecDirect,
		call_SQLPrepare,	 call_libc,
	};
	int result = redisCommand(NULL, LONG_TEXT);

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		result += calls[i]();
	result += SSL_connect(&result);
	/* As nobody should call them: what cannot be read is no label. */
	result += PQexec(NULL, (const char *)16);
	result += sqlite3_prepare_v2(NULL, "negative: to its end", -1);
	return result;
}
