/*
 * See otel_key_names.h. The process context is a mapping of an agreed name that points to
 * a message of protocol buffers, of which one attribute lists the names. Names are only
 * ever added to the list, so what is known stays. Everything is read by the kernel: the
 * mapping may go, and be written, at any moment.
 */
#include "otel_key_names.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_file_lines.h"
#include "sp_guarded.h"
#include "sp_list.h"
#include "sp_pages.h"
#include "sp_process_identity.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#define LIST "threadlocal.attribute_key_map"
#define MAPPING "OTEL_CTX"
#define SIGNATURE "OTEL_CTX"
#define VERSION 2U
#define PAYLOAD_BYTES_MAX (UINT32_C(64) << 10)
#define LOOK_INTERVAL_NS UINT64_C(1000000000)

struct header {
	char signature[8];
	uint32_t version;
	uint32_t payload_bytes;
	uint64_t published_ns; /* 0: it is being changed */
	uint64_t payload;      /* address */
};

static const char *recorded_keys = "";
/* By a key's number: where it is in recorded_keys, and ONE_OF_THEM more. */
enum { UNKNOWN, NOT_RECORDED, ONE_OF_THEM };
static _Atomic uint32_t places[SP_OTEL_KEYS];
static _Atomic bool wants_look;
static _Atomic uint64_t looked_ns; /* 0: never */

void sp_otel_key_names_begin(const char *recorded)
{
	recorded_keys = recorded;
	for (unsigned int i = 0; i < SP_OTEL_KEYS; i++)
		atomic_store_explicit(&places[i], UNKNOWN, memory_order_relaxed);
	atomic_store_explicit(&looked_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&wants_look, false, memory_order_relaxed);
}

static SP_COLD void ask_for_names(void)
{
	if (!atomic_exchange_explicit(&wants_look, true, memory_order_relaxed))
		sp_capture_wake_reporter();
}

struct sp_otel_key sp_otel_key_name(uint8_t number)
{
	/* Relaxed: the names themselves have been there from the start. */
	uint32_t place = atomic_load_explicit(&places[number], memory_order_relaxed);
	const char *name;

	if (sp_unlikely(place == UNKNOWN))
		ask_for_names();
	if (place < ONE_OF_THEM)
		return (struct sp_otel_key){NULL, 0, place == UNKNOWN};
	name = recorded_keys + place - ONE_OF_THEM;
	return (struct sp_otel_key){name, (uint32_t)strcspn(name, ","), false};
}

/* --- the message --- */

struct piece {
	const uint8_t *at, *end;
};

static bool read_varint(struct piece *from, uint64_t *value)
{
	*value = 0;
	for (unsigned int shift = 0; shift < 64 && from->at < from->end; shift += 7) {
		uint8_t byte = *from->at++;

		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

/* False: there are no more, or none that can be understood. value is empty for fields
 * that are numbers. */
static bool next_field(struct piece *message, uint64_t *number, struct piece *value)
{
	uint64_t tag, bytes = 0;

	if (!read_varint(message, &tag))
		return false;
	*number = tag >> 3;
	switch (tag & 7) {
	case 0:
		*value = (struct piece){message->at, message->at};
		return read_varint(message, &bytes);
	case 1:
		bytes = 8;
		break;
	case 2:
		if (!read_varint(message, &bytes))
			return false;
		break;
	case 5:
		bytes = 4;
		break;
	default:
		return false;
	}
	if (bytes > (uint64_t)(message->end - message->at))
		return false;
	*value = (struct piece){message->at, message->at + bytes};
	message->at += bytes;
	return true;
}

/* The last field of that number; empty: there is none. */
static struct piece field_of(struct piece message, uint64_t wanted)
{
	struct piece value, found = {message.end, message.end};
	uint64_t number;

	while (next_field(&message, &number, &value))
		if (number == wanted)
			found = value;
	return found;
}

static uint32_t place_of(struct piece name)
{
	size_t name_bytes = (size_t)(name.end - name.at);
	const char *rest = recorded_keys;
	struct sp_list_item item;

	while (sp_list_next(&rest, &item))
		if (item.bytes &&
		    sp_list_item_is(&item, (const char *)name.at, name_bytes))
			return (uint32_t)(item.at - recorded_keys) + ONE_OF_THEM;
	return NOT_RECORDED;
}

/* AnyValue: 1 = a text, 5 = an array; ArrayValue: 1 = values. */
static void take_names(struct piece any_value)
{
	struct piece array = field_of(any_value, 5), value;
	unsigned int key = 0;
	uint64_t number;

	while (key < SP_OTEL_KEYS && next_field(&array, &number, &value))
		if (number == 1)
			atomic_store_explicit(&places[key++],
					      place_of(field_of(value, 1)),
					      memory_order_relaxed);
}

/* KeyValue: 1 = key, 2 = value. */
static void take_attribute(struct piece attribute)
{
	struct piece key = field_of(attribute, 1);

	if (key.end - key.at == sizeof(LIST) - 1 &&
	    memcmp(key.at, LIST, sizeof(LIST) - 1) == 0)
		take_names(field_of(attribute, 2));
}

/* ProcessContext: 1 = resource, with attributes (1) of its own; 2 = attributes. */
static void take_context(struct piece context)
{
	struct piece value, attribute;
	uint64_t number, inner;

	while (next_field(&context, &number, &value)) {
		if (number == 2)
			take_attribute(value);
		while (number == 1 && next_field(&value, &inner, &attribute))
			if (inner == 1)
				take_attribute(attribute);
	}
}

/* --- where it is --- */

static void read_context(uint64_t address)
{
	struct header header, after;
	uint8_t *payload;

	if (!sp_guarded_read(address, &header, sizeof(header)) ||
	    memcmp(header.signature, SIGNATURE, sizeof(header.signature)) != 0 ||
	    header.version != VERSION || !header.published_ns ||
	    header.payload_bytes > PAYLOAD_BYTES_MAX)
		return;
	payload = sp_pages_map(PAYLOAD_BYTES_MAX);
	if (!payload)
		return;
	/* The same before and after: it was not changed meanwhile. */
	if (sp_guarded_read(header.payload, payload, header.payload_bytes) &&
	    sp_guarded_read(address, &after, sizeof(after)) &&
	    after.published_ns == header.published_ns)
		take_context((struct piece){payload, payload + header.payload_bytes});
	sp_pages_unmap(payload, PAYLOAD_BYTES_MAX);
}

/* "start-end perms offset device inode   [anon:OTEL_CTX]", or [anon_shmem:OTEL_CTX], or
 * /memfd:OTEL_CTX (deleted). */
static bool is_context(const char *line, size_t line_bytes)
{
	const size_t name_bytes = sizeof(MAPPING) - 1;
	const char *end = line + line_bytes, *name = memchr(line, '[', line_bytes);

	if (!name)
		name = memchr(line, '/', line_bytes);
	name = name ? memchr(name, ':', (size_t)(end - name)) : NULL;
	return name && (size_t)(end - name) > name_bytes &&
	       memcmp(name + 1, MAPPING, name_bytes) == 0;
}

static uint64_t start_of(const char *line)
{
	uint64_t start = 0;

	for (; *line && *line != '-'; line++)
		start = start << 4 |
			(uint64_t)(*line <= '9' ? *line - '0' : *line - 'a' + 10);
	return start;
}

static bool look_at_mapping(void *unused, const char *line, size_t line_bytes)
{
	(void)unused;
	if (is_context(line, line_bytes))
		read_context(start_of(line));
	return true;
}

void sp_otel_key_names_look(void)
{
	uint64_t now_ns, last_ns;

	if (!atomic_load_explicit(&wants_look, memory_order_relaxed))
		return;
	now_ns = sp_clock_monotonic_ns();
	last_ns = atomic_load_explicit(&looked_ns, memory_order_relaxed);
	if (last_ns && now_ns - last_ns < LOOK_INTERVAL_NS)
		return;
	atomic_store_explicit(&looked_ns, now_ns, memory_order_relaxed);
	/* Before: who misses one from here on asks again. */
	atomic_store_explicit(&wants_look, false, memory_order_relaxed);
	sp_file_lines_read(sp_process_open("maps"), look_at_mapping, NULL);
}
