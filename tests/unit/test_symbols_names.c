/*
 * Readable names and the store they live in.
 */
#include "sp_demangle.h"
#include "sp_symbol_names.h"

#include <check.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* Sanitized frames are larger than those that ship. */
#if defined(__has_feature)
#define IS_SANITIZED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

static char out[SP_DEMANGLE_OUTPUT_BYTES];

static const struct {
	const char *mangled, *readable;
} readable_names[] = {
	{"_ZN3foo3barEv", "foo::bar"},
	{"_ZNSt6vectorIiSaIiEE9push_backERKi",
	 "std::vector<int, std::allocator<int> >::push_back"},
	{"_ZN12_GLOBAL__N_16hiddenEi", "(anonymous namespace)::hidden"},
	{"_ZN3FooC2Ev", "Foo::Foo"},
	{"_ZN3FooD0Ev", "Foo::~Foo"},
	{"_ZThn16_N3Foo3barEv", "non-virtual thunk to Foo::bar()"},
	{"_Z3fooi.cold", "foo"},
	{"_Z3fooi.constprop.0", "foo"},
	/* Rust before 1.9x: C++'s mangling and a hash */
	{"_ZN4core3fmt9Formatter3pad17h1a2b3c4d5e6f7081E", "core::fmt::Formatter::pad"},
	{"_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop"
	 "17h0123456789abcdefE",
	 "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop"},
	/* Rust v0 */
	{"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
	{"_RNvMs_NtCsgz5gb_4core3u64y4from", "<u64>::from"},
	{"_RINvNtC3std3mem8align_ofjE", "std::mem::align_of::<usize>"},
	{"_RNvXs_C7mycrateNtB4_3FooNtNtC4core5clone5Clone5clone",
	 "<mycrate::Foo as core::clone::Clone>::clone"},
};

START_TEST(mangled_name_becomes_readable)
{
	size_t length = sp_demangle(readable_names[_i].mangled, out);

	ck_assert_str_eq(out, readable_names[_i].readable);
	ck_assert_uint_eq(length, strlen(out));
}
END_TEST

static const char *const plain_names[] = {
	"",	   "_",	     "main",	 "_Z",	"_R",	"_start", "_Zebra",
	"_Reader", "_ZN3fo", "__Z3foov", "_ZL", "_RNv", "_RNvC",
};

START_TEST(plain_or_broken_name_is_left_alone)
{
	ck_assert_uint_eq(sp_demangle(plain_names[_i], out), 0);
}
END_TEST

START_TEST(overlong_name_is_left_alone)
{
	static char name[SP_DEMANGLE_INPUT_BYTES_MAX + 16] = "_ZN1100";

	memset(name + 7, 'a', sizeof(name) - 8);
	ck_assert_uint_eq(sp_demangle(name, out), 0);
}
END_TEST

START_TEST(exploding_name_is_cut_in_time)
{
	/* Each template argument holds the one before it twice. */
	char name[1024];
	struct timespec before, after;
	size_t length;

	strcpy(name, "_Z1fI1aIiiE");
	for (int i = 0; i < 34; i++) {
		char digit = (char)(i < 10 ? '0' + i : 'A' + i - 10);

		snprintf(name + strlen(name), sizeof(name) - strlen(name), "S_IS%c_S%c_E",
			 digit, digit);
	}
	strcat(name, "EvT_");
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	length = sp_demangle(name, out);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	ck_assert_uint_eq(length, SP_DEMANGLE_OUTPUT_BYTES - 1);
	ck_assert_uint_eq(strlen(out), length);
	ck_assert_str_eq(out + length - 3, "...");
	ck_assert_int_lt(after.tv_sec - before.tv_sec, 2);
}
END_TEST

static const struct {
	const char *name;
	bool is_plain;
} punycode[] = {
	{"_RNvC7mycrate3foo", true},
	{"_RNvC7mycrate4u32x", true},
	{"_RNvNtCsu4u4_7mycrate3u643foo", true},
	{"_RNvMs_NtCsu5gb_4core3u64y4from", true},
	{"_RINvC1a4u8u8KjFuEmE", false}, /* not read to its end */
	{"_RINvC1a4u8u8Kj8_Kb1_E", true},
	{"_RINvC1a4u8u8RL_hDNtC1a1bEL_FKC3u32EuE", false},
	{"_RINvC1a4u8u8RL_hDNtC1a1bEL_FKCThhEEuE", true},
	{"_RNvC7mycrateu8gdel_5qa", false},
	{"_RNqCs4fqI2P2rA04_11utf8_identsu30____7hkackfecea1cbdathfdh9hlq6y", false},
	{"_RNvCs_u3foo", false},
};

START_TEST(punycode_is_recognised_without_decoding)
{
	ck_assert_msg(sp_rust_v0_is_plain(punycode[_i].name) == punycode[_i].is_plain,
		      "%s", punycode[_i].name);
}
END_TEST

START_TEST(deeply_nested_rust_name_is_not_followed_down)
{
	static char name[SP_DEMANGLE_INPUT_BYTES_MAX] = "_RINvC1a2u8";

	memset(name + 11, 'R', sizeof(name) - 14);
	strcat(name, "hE");
	ck_assert(!sp_rust_v0_is_plain(name));
}
END_TEST

static const char *nested; /* what one letter, repeated, makes of a name */

static void *demangle_on_small_stack(void *stack)
{
	(void)stack;
	return (void *)sp_demangle(nested, out);
}

static const char *const nesting[][3] = {
	{"_Z1fI", "P", "iEvv"},	       {"_Z1fI", "K", "iEvv"},
	{"_Z1fI", "F", "iE"},	       {"_Z1fI", "A_", "iEvv"},
	{"_ZN", "1a", "Ev"},	       {"_Z1fI", "1AI", "iEEEEEEEEEEEEvv"},
	{"_Z1fIDT", "ng", "fp_EEvv"},  {"_Z1fI", "RT_", "EvT_"},
	{"_Z1fIXL", "pl", "Li1EEEvv"}, {"_Z1fI", "1AIRT_", "iEEEEEvv"},
	{"_Z1fI", "M1A", "iEvv"},      {"_Z1fIZ", "N1a1bEvE", "iE"},
	{"_RINvC1a1b", "R", "hE"},     {"_RINvC1a1b", "F", "EuE"},
	{"_RNvM", "M", "C1ah1b"}};

START_TEST(worst_nesting_stays_within_the_stack_it_states)
{
	static char name[SP_DEMANGLE_INPUT_BYTES_MAX + 1];
	const size_t stack_bytes = 768 * 1024; /* the C library's own share on top */
	const char *const *parts = nesting[_i];
	size_t used = 0, room;
	pthread_attr_t attributes;
	pthread_t thread;
	uint8_t *stack;

	if (IS_SANITIZED)
		return;
	strcpy(name, parts[0]);
	room = sizeof(name) - 1 - strlen(parts[2]);
	while (strlen(name) + strlen(parts[1]) <= room)
		strcat(name, parts[1]);
	strcat(name, parts[2]);
	nested = name;
	stack = mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(stack, MAP_FAILED);
	memset(stack, 0xa5, stack_bytes);
	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, stack, stack_bytes);
	ck_assert_int_eq(
		pthread_create(&thread, &attributes, demangle_on_small_stack, NULL), 0);
	pthread_join(thread, NULL);
	while (used < stack_bytes && stack[used] == 0xa5)
		used++;
	used = stack_bytes - used;
	ck_assert_uint_lt(used, 512 * 1024);
	munmap(stack, stack_bytes);
}
END_TEST

START_TEST(same_name_is_stored_once)
{
	struct sp_symbol_names names;
	size_t total_bytes;
	const char *first;

	sp_symbol_names_init(&names);
	first = sp_symbol_names_intern(&names, "alphabet", 5);
	ck_assert_str_eq(first, "alpha");
	ck_assert_ptr_ne(sp_symbol_names_intern(&names, "alphabet", 8), first);
	total_bytes = names.total_bytes;
	ck_assert_ptr_eq(sp_symbol_names_intern(&names, "alphas", 5), first);
	/* cleaned to something known */
	ck_assert_str_eq(sp_symbol_names_intern(&names, "a\x02", 2), "a?");
	ck_assert_ptr_eq(sp_symbol_names_intern(&names, "a\x03", 2),
			 sp_symbol_names_intern(&names, "a?", 2));
	ck_assert_uint_eq(names.total_bytes, total_bytes + 3);
	sp_symbol_names_fini(&names);
}
END_TEST

START_TEST(many_names_are_all_kept)
{
	struct sp_symbol_names names;
	const char **kept = calloc(20000, sizeof(*kept));
	char name[32];

	sp_symbol_names_init(&names);
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "function_%d", i);
		kept[i] = sp_symbol_names_intern(&names, name, strlen(name));
	}
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "function_%d", i);
		ck_assert_str_eq(kept[i], name);
		ck_assert_ptr_eq(sp_symbol_names_intern(&names, name, strlen(name)),
				 kept[i]);
	}
	sp_symbol_names_fini(&names);
	free(kept);
}
END_TEST

START_TEST(store_stops_growing_at_its_limit)
{
	const size_t length = 1 << 20;
	struct sp_symbol_names names;
	char *name = malloc(length);
	int stored = 0;

	memset(name, 'x', length);
	sp_symbol_names_init(&names);
	for (int i = 0; i < 80; i++) {
		memcpy(name, &(char[2]){(char)('a' + i % 26), (char)('a' + i / 26)}, 2);
		stored += sp_symbol_names_intern(&names, name, length) != NULL;
	}
	ck_assert_int_eq(stored, 63);
	ck_assert_uint_le(names.total_bytes, SP_SYMBOL_NAMES_BYTES_MAX);
	sp_symbol_names_fini(&names);
	free(name);
}
END_TEST

static const struct {
	const char *path;
	uint64_t offset;
	const char *name;
} offsets[] = {
	{"/usr/bin/redis-server", 0x1f40, "redis-server+0x1f40"},
	{"/usr/bin/redis-server (deleted)", 0, "redis-server+0x0"},
	{"plain", UINT64_MAX, "plain+0xffffffffffffffff"},
	{"[vdso]", 0x10, "[vdso]+0x10"},
	{" (deleted)", 1, " (deleted)+0x1"},
	{"", 1, "[module]+0x1"},
	{NULL, 1, "[module]+0x1"},
};

START_TEST(offset_is_named_after_the_files_last_part)
{
	struct sp_symbol_names names;

	sp_symbol_names_init(&names);
	ck_assert_str_eq(
		sp_symbol_names_offset(&names, offsets[_i].path, offsets[_i].offset),
		offsets[_i].name);
	sp_symbol_names_fini(&names);
}
END_TEST

#define LOOP(tc, test, table)                                                            \
	tcase_add_loop_test(tc, test, 0, (int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
	Suite *suite = suite_create("symbols_names");
	TCase *tc = tcase_create("names");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	LOOP(tc, mangled_name_becomes_readable, readable_names);
	LOOP(tc, plain_or_broken_name_is_left_alone, plain_names);
	tcase_add_test(tc, overlong_name_is_left_alone);
	tcase_add_test(tc, exploding_name_is_cut_in_time);
	LOOP(tc, punycode_is_recognised_without_decoding, punycode);
	tcase_add_test(tc, deeply_nested_rust_name_is_not_followed_down);
	LOOP(tc, worst_nesting_stays_within_the_stack_it_states, nesting);
	tcase_add_test(tc, same_name_is_stored_once);
	tcase_add_test(tc, many_names_are_all_kept);
	tcase_add_test(tc, store_stops_growing_at_its_limit);
	LOOP(tc, offset_is_named_after_the_files_last_part, offsets);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
