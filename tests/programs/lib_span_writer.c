/*
 * What a library of OpenTelemetry and one of custom labels do: publish what the
 * calling thread is at in thread-local variables of agreed names. Also part of programs
 * of their own (span_writer.c); those say which version of the labels they have.
 */
#include <stddef.h>
#include <stdint.h>

#ifndef LABELS_VERSION
#define LABELS_VERSION 1
#endif

struct otel_record {
	uint8_t trace_id[16], span_id[8];
	uint8_t valid, flags;
	uint16_t attributes_bytes;
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

void writer_otel(int is_in)
{
	static __thread struct otel_record record;

	record.valid = 0;
	__asm__ volatile("" ::: "memory");
	for (int i = 0; i < 16; i++)
		record.trace_id[i] = (uint8_t)(0xa0 + i);
	for (int i = 0; i < 8; i++)
		record.span_id[i] = (uint8_t)(0xb0 + i);
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
	__asm__ volatile("" ::: "memory");
}
