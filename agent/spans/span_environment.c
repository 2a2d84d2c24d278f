/*
 * The span around the whole process, as whoever started it says in the environment:
 * TRACEPARENT (OpenTelemetry enhancement proposal 258, W3C trace context),
 * OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES. Threads that have entered no span of
 * their own are in this one. Context: init, or the handler or hook in which a fork child
 * begins its recording. That may be setenv()'s own call of realloc(), when the
 * environment is half changed: it is read at the start only, and children have the same.
 */
#include "span_sources.h"

#include "sp_span_capture.h"
#include "sp_text.h"

#include <string.h>
#include <sys/auxv.h>

#define NAME_BYTES_MAX 128U
#define TRACEPARENT_BYTES 55U

/* What the environment said at the start. */
static struct {
	struct sp_span_context parent;
	bool has_parent, has_span;
	char name[NAME_BYTES_MAX];
} noted;

/* Not getenv(): the program may be changing its environment. NULL: not set, or empty,
 * which OpenTelemetry takes for the same. */
static const char *variable(char *const *environment, const char *name)
{
	size_t name_bytes = strlen(name);

	for (; environment && *environment; environment++)
		if (strncmp(*environment, name, name_bytes) == 0 &&
		    (*environment)[name_bytes] == '=')
			return (*environment)[name_bytes + 1]
				       ? *environment + name_bytes + 1
				       : NULL;
	return NULL;
}

/* Of trace context, where capitals are wrong. */
static int digit(char character)
{
	if (character >= '0' && character <= '9')
		return character - '0';
	if (character >= 'a' && character <= 'f')
		return character - 'a' + 10;
	return -1;
}

static int hex_digit(char character)
{
	return character >= 'A' && character <= 'F' ? character - 'A' + 10
						    : digit(character);
}

static bool read_hex(const char *text, uint8_t *bytes, size_t count)
{
	uint8_t any = 0;

	for (size_t i = 0; i < count; i++) {
		int high = digit(text[2 * i]);
		int low = high < 0 ? -1 : digit(text[2 * i + 1]);

		if (low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
		any |= bytes[i];
	}
	return any != 0; /* all zeros is invalid */
}

/* "00-" trace id "-" span id "-" flags; later versions may go on behind another "-". */
static bool read_traceparent(const char *text, struct sp_span_context *context)
{
	return text && strlen(text) >= TRACEPARENT_BYTES && digit(text[0]) >= 0 &&
	       digit(text[1]) >= 0 && strncmp(text, "ff", 2) != 0 && text[2] == '-' &&
	       text[35] == '-' && text[52] == '-' && digit(text[53]) >= 0 &&
	       digit(text[54]) >= 0 &&
	       (!text[TRACEPARENT_BYTES] ||
		(text[TRACEPARENT_BYTES] == '-' && strncmp(text, "00", 2) != 0)) &&
	       read_hex(text + 3, context->trace_id, sizeof(context->trace_id)) &&
	       read_hex(text + 36, context->span_id, sizeof(context->span_id));
}

/* --- resource attributes: "key=value,key=value", as W3C baggage --- */

struct piece {
	const char *at, *end;
};

static bool is_space(char character)
{
	return character == ' ' || character == '\t';
}

static struct piece trim(struct piece piece)
{
	while (piece.at < piece.end && is_space(*piece.at))
		piece.at++;
	while (piece.at < piece.end && is_space(piece.end[-1]))
		piece.end--;
	return piece;
}

/* Of "%41" the byte, -1 where that is none that may stand in a text. */
static int encoded_byte(const char *at, const char *end)
{
	int high, low;

	if (end - at < 3 || *at != '%')
		return -1;
	high = hex_digit(at[1]);
	low = hex_digit(at[2]);
	return high < 0 || low < 0 || high + low == 0 ? -1 : high << 4 | low;
}

static void decode(struct piece value, struct sp_text *text)
{
	while (value.at < value.end) {
		int byte = encoded_byte(value.at, value.end);

		sp_text_char(text, byte < 0 ? *value.at : (char)byte);
		value.at += byte < 0 ? 1 : 3;
	}
}

/* The value of that key; false: there is none, or an empty one. */
static bool read_attribute(const char *list, const char *key, struct sp_text *text)
{
	size_t key_bytes = strlen(key);

	while (list && *list) {
		const char *end = list + strcspn(list, ",");
		const char *sign = memchr(list, '=', (size_t)(end - list));
		struct piece name = trim((struct piece){list, sign ? sign : list});
		struct piece value = trim((struct piece){sign ? sign + 1 : end, end});

		if ((size_t)(name.end - name.at) == key_bytes &&
		    memcmp(name.at, key, key_bytes) == 0 && value.at < value.end) {
			decode(value, text);
			return true;
		}
		list = end + (*end == ',');
	}
	return false;
}

static void choose_name(char *const *environment, char name[NAME_BYTES_MAX])
{
	const char *service = variable(environment, "OTEL_SERVICE_NAME");
	struct sp_text text;

	sp_text_init(&text, name, NAME_BYTES_MAX);
	if (service)
		sp_text_string(&text, service);
	else if (!read_attribute(variable(environment, "OTEL_RESOURCE_ATTRIBUTES"),
				 "service.name", &text))
		sp_text_string(&text,
			       sp_text_base_name((const char *)getauxval(AT_EXECFN)));
}

static void note(char *const *environment)
{
	memset(&noted, 0, sizeof(noted));
	noted.has_parent =
		read_traceparent(variable(environment, "TRACEPARENT"), &noted.parent);
	noted.has_span = noted.has_parent || variable(environment, "OTEL_SERVICE_NAME") ||
			 variable(environment, "OTEL_RESOURCE_ATTRIBUTES");
	if (noted.has_span)
		choose_name(environment, noted.name);
}

static bool begin(const struct sp_spans_setup *setup)
{
	struct sp_span_site site = {
		.name = noted.name,
		.target = "environment",
		.source = SP_SPAN_SOURCE_ENVIRONMENT,
	};

	if (setup->environment)
		note(setup->environment);
	if (!noted.has_span)
		return false;
	sp_span_set_root(sp_span_create(sp_span_callsite(&site), SP_SPAN_NONE,
					noted.has_parent ? &noted.parent : NULL));
	return true;
}

const struct sp_span_source_ops sp_span_environment = {
	.source = SP_SPAN_SOURCE_ENVIRONMENT,
	.is_on_by_default = true,
	.begin = begin,
};
