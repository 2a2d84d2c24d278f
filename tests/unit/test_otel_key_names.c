/* What the process context says that attributes' keys are called, whole and damaged. */
/* Sources of spans are not in the library of the tests. */
#include "../../agent/spans/otel_key_names.c"

#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MESSAGE(literal)                                                                 \
	{                                                                                \
		literal, sizeof(literal) - 1                                             \
	}

struct message {
	const char *bytes;
	uint32_t size;
};

/* "b" is no text but a number. */
#define NAMES "\x2a\x0f\x0a\x05\x0a\x03one\x0a\x02\x18\x07\x0a\x02\x0a\x00"
#define NAMES_BYTES "\x11"
#define ATTRIBUTE "\x0a\x1dthreadlocal.attribute_key_map\x12" NAMES_BYTES NAMES
#define ATTRIBUTE_BYTES "\x32"
/* Among the attributes, and among those of the resource; after fields that nobody
 * knows. */
static const struct message messages[] = {
	MESSAGE("\x08\x96\x01\x19"
		"12345678\x25"
		"1234\x12" ATTRIBUTE_BYTES ATTRIBUTE),
	MESSAGE("\x0a\x34\x0a" ATTRIBUTE_BYTES ATTRIBUTE "\x12\x05\x0a\x03key"),
};

static struct header *header;

static void setup(void)
{
	int fd = memfd_create("OTEL_CTX", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	header = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(header, MAP_FAILED);
	close(fd);
	memcpy(header->signature, "OTEL_CTX", 8);
	header->version = 2;
	sp_otel_key_names_begin("two,one,three");
}

static void teardown(void)
{
	munmap(header, 4096);
}

static void publish(const void *bytes, uint32_t size)
{
	header->payload = (uint64_t)(uintptr_t)bytes;
	header->payload_bytes = size;
	header->published_ns = 1;
}

/* As often as wanted: as if a second had passed. */
static void look(void)
{
	looked_ns = 0;
	sp_otel_key_names_look();
}

static bool is_called(uint8_t number, const char *name)
{
	struct sp_otel_key key = sp_otel_key_name(number);

	return name ? key.name && key.bytes == strlen(name) &&
			       memcmp(key.name, name, key.bytes) == 0
		    : key.name == NULL;
}

START_TEST(names_are_found)
{
	publish(messages[_i].bytes, messages[_i].size);
	ck_assert(is_called(0, NULL));
	look();
	ck_assert(is_called(0, "one"));
	ck_assert(is_called(1, NULL));
	ck_assert(is_called(2, NULL));
	ck_assert(is_called(3, NULL));
}
END_TEST

/* What has one and is not wanted is no loss. */
START_TEST(key_is_nameless_until_its_name_is_found)
{
	publish(messages[0].bytes, messages[0].size);
	ck_assert(sp_otel_key_name(0).is_nameless);
	look();
	ck_assert(!sp_otel_key_name(0).is_nameless);
	ck_assert(!sp_otel_key_name(1).is_nameless);
	ck_assert(sp_otel_key_name(3).is_nameless);
}
END_TEST

START_TEST(names_are_looked_for_when_one_is_missed)
{
	publish(messages[0].bytes, messages[0].size);
	look();
	ck_assert_int_eq(places[0], UNKNOWN);
	is_called(0, NULL);
	look();
	ck_assert(is_called(0, "one"));
	/* Not those of the parent. */
	sp_otel_key_names_begin("one");
	ck_assert(is_called(0, NULL));
}
END_TEST

START_TEST(looks_are_not_too_often)
{
	is_called(0, NULL);
	look();
	publish(messages[0].bytes, messages[0].size);
	is_called(0, NULL);
	sp_otel_key_names_look();
	ck_assert_int_eq(places[0], UNKNOWN);
	look();
	ck_assert(is_called(0, "one"));
}
END_TEST

START_TEST(what_is_no_context_is_left_alone)
{
	publish(messages[0].bytes, messages[0].size);
	switch (_i) {
	case 0:
		header->version = 1;
		break;
	case 1:
		header->published_ns = 0;
		break;
	case 2:
		header->signature[7] = 'Y';
		break;
	case 3:
		header->payload = 16;
		break;
	default:
		header->payload_bytes = UINT32_MAX;
	}
	is_called(0, NULL);
	look();
	for (unsigned int i = 0; i < SP_OTEL_KEYS; i++)
		ck_assert_int_eq(places[i], UNKNOWN);
}
END_TEST

/* Cut anywhere, and with any byte changed: nothing but other names, or none. */
START_TEST(damaged_messages_do_no_harm)
{
	const struct message *message = &messages[_i];

	for (uint32_t size = 0; size < message->size; size++) {
		/* Of that very size, for the sanitizers. */
		uint8_t *copy = malloc(size ? size : 1);

		ck_assert_ptr_nonnull(copy);
		memcpy(copy, message->bytes, size);
		take_context((struct piece){copy, copy + size});
		free(copy);
	}
	for (uint32_t at = 0; at < message->size; at++) {
		for (unsigned int value = 0; value < 256; value++) {
			uint8_t *copy = malloc(message->size);

			ck_assert_ptr_nonnull(copy);
			memcpy(copy, message->bytes, message->size);
			copy[at] = (uint8_t)value;
			take_context((struct piece){copy, copy + message->size});
			free(copy);
		}
	}
	for (unsigned int i = 0; i < SP_OTEL_KEYS; i++)
		ck_assert_uint_lt(places[i], sizeof("two,one,three") - 1 + ONE_OF_THEM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("otel_key_names");
	TCase *tcase = tcase_create("names");
	SRunner *runner = srunner_create(suite);
	const int count = (int)(sizeof(messages) / sizeof(messages[0]));
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, names_are_found, 0, count);
	tcase_add_test(tcase, key_is_nameless_until_its_name_is_found);
	tcase_add_test(tcase, names_are_looked_for_when_one_is_missed);
	tcase_add_test(tcase, looks_are_not_too_often);
	tcase_add_loop_test(tcase, what_is_no_context_is_left_alone, 0, 5);
	tcase_add_loop_test(tcase, damaged_messages_do_no_harm, 0, count);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
