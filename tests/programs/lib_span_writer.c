/*
 * What a library of OpenTelemetry and one of custom labels do: publish what the
 * calling thread is at in thread-local variables of agreed names. Also part of programs
 * of their own (span_writer.c); those say which version of the labels they have.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef LABELS_VERSION
#define LABELS_VERSION 1
#endif

struct otel_record {
	uint8_t trace_id[16], span_id[8];
	uint8_t valid, flags;
	uint16_t attributes_bytes;
	uint8_t attributes[64];
} __attribute__((packed));

struct text {
	size_t bytes;
	const char *buffer;
};

struct label {
	struct text key, value;
};

struct label_set {
	struct label *storage;
	size_t count, capacity;
};

const uint32_t custom_labels_abi_version = LABELS_VERSION;
__thread struct otel_record *otel_thread_ctx_v1;
__thread struct label_set *custom_labels_current_set;

void writer_otel(int is_in);
void writer_labels(int is_in);
void writer_break_labels(unsigned int how);

/* What the keys of attributes are called: an attribute of the process context, which
 * is a message of protocol buffers. */
static const char context_payload[] = "\x0a\x18\x0a\x16\x0a\x0c"
				      "service.name\x12\x06\x0a\x04shop"
				      "\x12\x4b\x0a\x1d"
				      "threadlocal.attribute_key_map\x12\x2a\x2a\x28"
				      "\x0a\x09\x0a\x07unasked"
				      "\x0a\x0c\x0a\x0aotel.route"
				      "\x0a\x0d\x0a\x0botel.tenant";

struct context_header {
	char signature[8];
	uint32_t version, payload_bytes;
	uint64_t published_ns, payload;
};

__attribute__((constructor)) static void publish_context(void)
{
	struct context_header *header;
	struct timespec now;
	int fd = memfd_create("OTEL_CTX", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, sizeof(*header)) != 0)
		return;
	header = mmap(NULL, sizeof(*header), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	if (header == MAP_FAILED)
		return;
	clock_gettime(CLOCK_BOOTTIME, &now);
	memcpy(header->signature, "OTEL_CTX", sizeof(header->signature));
	header->version = 2;
	header->payload_bytes = sizeof(context_payload) - 1;
	header->payload = (uint64_t)(uintptr_t)context_payload;
	__asm__ volatile("" ::: "memory");
	header->published_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void writer_otel(int is_in)
{
	/* Key, bytes, value: one that nobody asked for, one whose last counts, one that
	 * has no name. */
	static const char attributes[] = "\1\6/first"
					 "\0\1x"
					 "\2\4acme"
					 "\1\5/cart"
					 "\7\1y";
	static __thread struct otel_record record;

	record.valid = 0;
	__asm__ volatile("" ::: "memory");
	for (int i = 0; i < 16; i++)
		record.trace_id[i] = (uint8_t)(0xa0 + i);
	for (int i = 0; i < 8; i++)
		record.span_id[i] = (uint8_t)(0xb0 + i);
	memcpy(record.attributes, attributes, sizeof(attributes) - 1);
	record.attributes_bytes = sizeof(attributes) - 1;
	__asm__ volatile("" ::: "memory");
	record.valid = 1;
	otel_thread_ctx_v1 = is_in ? &record : NULL;
	__asm__ volatile("" ::: "memory");
}

#define TEXT(literal)                                                                    \
	{                                                                                \
		sizeof(literal) - 1, literal                                             \
	}

void writer_labels(int is_in)
{
	/* One that is being changed, one that nobody asked for, one twice. */
	static struct label labels[] = {
		{{5, NULL}, TEXT("gone")},	{TEXT("secret"), TEXT("x")},
		{TEXT("route"), TEXT("/cart")}, {TEXT("route"), TEXT("/second")},
		{TEXT("tenant"), TEXT("acme")},
	};
	static struct label_set set = {labels, sizeof(labels) / sizeof(labels[0]),
				       sizeof(labels) / sizeof(labels[0])};

	custom_labels_current_set = is_in ? &set : NULL;
	__asm__ volatile("" ::: "memory");
}

/* Attributes that are said to reach to where nothing is, and beyond their end. */
static void break_attributes(unsigned int how)
{
	static struct otel_record *record;
	const size_t page_bytes = 4096;

	if (!record) {
		char *pages = mmap(NULL, 2 * page_bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (pages == MAP_FAILED ||
		    mprotect(pages + page_bytes, page_bytes, PROT_NONE) != 0)
			return;
		record = (struct otel_record *)(void *)(pages + page_bytes -
							offsetof(struct otel_record,
								 attributes) -
							6);
		memcpy(record->attributes, "\1\2/a\1\377", 6);
		record->valid = 1;
	}
	record->attributes_bytes = how % 3 == 0 ? UINT16_MAX : how % 3 == 1 ? 6 : 7;
	otel_thread_ctx_v1 = record;
}

/* Labels as no writer should leave them. */
void writer_break_labels(unsigned int how)
{
	static char *const nowhere = (char *)16;
	static struct label labels[] = {
		{TEXT("route"), TEXT("/cart")},
		{TEXT("route"), {4, nowhere}},
		{{5, nowhere}, TEXT("/cart")},
		{TEXT("route"), {SIZE_MAX, nowhere}},
		{{SIZE_MAX, nowhere}, TEXT("/cart")},
	};
	static struct label_set sets[] = {
		{(struct label *)16, 3, 4},
		{labels + 1, 1, 1},
		{labels + 2, 1, 1},
		{labels + 3, 1, 1},
		{labels + 4, 1, 1},
		{labels, SIZE_MAX, SIZE_MAX},
		{NULL, 1, 1},
	};
	const unsigned int count = sizeof(sets) / sizeof(sets[0]);

	custom_labels_current_set = how % (count + 1) == count
					    ? (struct label_set *)nowhere
					    : &sets[how % (count + 1)];
	break_attributes(how);
	__asm__ volatile("" ::: "memory");
}
