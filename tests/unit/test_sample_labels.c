/*
 * What sources add to samples: names that are read now and then and bounded in number,
 * and labels that are read each time.
 */
#include "test_span_capture_fixture.h"

#include "sp_sample_labels.h"

#include <stdio.h>
#include <stdlib.h>

#define RECORDING_BYTES (UINT64_C(16) << 20)
/* Longer than any name is kept where nobody tells of changes, and than others. */
#define AGE_CYCLES (UINT64_C(1) << 32)
#define SHORT_AGE_CYCLES (UINT64_C(1) << 22)
#define NAMES_TOLD_APART 256

static const struct sp_span_settings settings = {.probability_millionths = 1000000,
						 .labels = "user"};
static struct sp_slot slot;
static char thread_name[SP_SAMPLE_NAME_BYTES], title[SP_SAMPLE_NAME_BYTES];
static unsigned int reads;
static uint64_t now_cycles;
static const char *label_value; /* NULL: none */
/* What a handler does that interrupts a hook which has read the names; NULL: nothing. */
static void (*interrupt)(void);

static bool read_thread_name(char text[SP_SAMPLE_NAME_BYTES])
{
	reads++;
	memcpy(text, thread_name, SP_SAMPLE_NAME_BYTES);
	return text[0] != '\0';
}

static bool read_title(char text[SP_SAMPLE_NAME_BYTES])
{
	memcpy(text, title, SP_SAMPLE_NAME_BYTES);
	return text[0] != '\0';
}

static bool has_label(void)
{
	void (*handler)(void) = interrupt;

	interrupt = NULL;
	if (handler)
		handler();
	return label_value != NULL;
}

static bool add_label(struct sp_span_labels *labels)
{
	return sp_sample_label_add(labels, "user", label_value);
}

static void setup(void)
{
	begin_spans(&settings, RECORDING_BYTES);
	memset(&slot, 0, sizeof(slot));
	atomic_store(&slot.stack_high, (uint64_t)(uintptr_t)__builtin_frame_address(0));
	memset(thread_name, 0, sizeof(thread_name));
	memset(title, 0, sizeof(title));
	reads = 0;
	now_cycles = AGE_CYCLES;
	label_value = NULL;
	interrupt = NULL;
	sp_sample_name_source(SP_SAMPLE_THREAD_NAME, read_thread_name);
	sp_sample_name_source(SP_SAMPLE_PROCESS_TITLE, read_title);
	sp_sample_label_source(has_label, add_label);
}

static void let_names_age(void)
{
	now_cycles += AGE_CYCLES;
}

static uint32_t next_label_set(struct sp_slot *of, uint32_t label_set)
{
	return sp_sample_label_set(of, label_set, now_cycles++);
}

static const char *text_at(uint32_t text)
{
	return sp_recording_span_text(recorded(), text);
}

static const struct sp_label_set *next_set(struct sp_slot *of, uint32_t label_set)
{
	return sp_recording_label_set(recorded(), next_label_set(of, label_set));
}

START_TEST(names_are_on_samples_until_they_change)
{
	const struct sp_label_set *set;

	strcpy(thread_name, "worker");
	set = next_set(&slot, SP_LABEL_SET_NONE);
	ck_assert_str_eq(text_at(set->thread_name), "worker");
	ck_assert_uint_eq(set->process_title, 0);
	strcpy(thread_name, "idle");
	strcpy(title, "server: waiting");
	let_names_age();
	set = next_set(&slot, SP_LABEL_SET_NONE);
	ck_assert_str_eq(text_at(set->thread_name), "idle");
	ck_assert_str_eq(text_at(set->process_title), "server: waiting");
	thread_name[0] = title[0] = '\0';
	let_names_age();
	ck_assert_uint_eq(next_label_set(&slot, SP_LABEL_SET_NONE), SP_LABEL_SET_NONE);
}
END_TEST

START_TEST(names_are_not_read_for_each_sample)
{
	strcpy(thread_name, "worker");
	for (int i = 0; i < 1000; i++) {
		now_cycles += SHORT_AGE_CYCLES / 100;
		next_set(&slot, SP_LABEL_SET_NONE);
	}
	ck_assert_uint_eq(reads, 1);
	/* Not even where names change all the time. */
	for (int i = 0; i < 1000; i++) {
		sp_sample_thread_name_changed();
		next_set(&slot, SP_LABEL_SET_NONE);
	}
	ck_assert_uint_eq(reads, 2);
}
END_TEST

START_TEST(change_that_is_told_is_seen_soon)
{
	struct sp_slot other;

	memset(&other, 0, sizeof(other));
	strcpy(thread_name, "worker");
	next_set(&slot, SP_LABEL_SET_NONE);
	next_set(&other, SP_LABEL_SET_NONE);
	strcpy(thread_name, "renamed");
	sp_sample_thread_name_changed();
	now_cycles += SHORT_AGE_CYCLES;
	/* Whose name it is nobody says. */
	for (int i = 0; i < 3; i++) {
		ck_assert_str_eq(text_at(next_set(&slot, SP_LABEL_SET_NONE)->thread_name),
				 "renamed");
		ck_assert_str_eq(
			text_at(next_set(&other, SP_LABEL_SET_NONE)->thread_name),
			"renamed");
	}
	ck_assert_uint_eq(reads, 4);
}
END_TEST

START_TEST(title_is_read_again_soon_and_the_name_with_it_is_not)
{
	strcpy(thread_name, "worker");
	strcpy(title, "server: waiting");
	next_set(&slot, SP_LABEL_SET_NONE);
	strcpy(title, "server: busy");
	now_cycles += SHORT_AGE_CYCLES;
	ck_assert_str_eq(text_at(next_set(&slot, SP_LABEL_SET_NONE)->process_title),
			 "server: busy");
	ck_assert_uint_eq(reads, 1);
}
END_TEST

/* Within a span that the hook was not in yet. */
static void read_another_name(void)
{
	strcpy(thread_name, "renamed");
	let_names_age();
	ck_assert_str_eq(
		text_at(next_set(&slot,
				 span_of(create("handled", SP_SPAN_NONE))->label_set)
				->thread_name),
		"renamed");
}

START_TEST(name_that_a_handler_read_meanwhile_stays)
{
	strcpy(thread_name, "worker");
	interrupt = read_another_name;
	ck_assert_str_eq(text_at(next_set(&slot, SP_LABEL_SET_NONE)->thread_name),
			 "worker");
	for (int i = 0; i < 2; i++)
		ck_assert_str_eq(text_at(next_set(&slot, SP_LABEL_SET_NONE)->thread_name),
				 "renamed");
}
END_TEST

START_TEST(each_set_has_one_with_names)
{
	uint64_t outer = create("outer", SP_SPAN_NONE), inner = create("inner", outer);
	uint32_t plain, within;

	strcpy(thread_name, "worker");
	plain = next_label_set(&slot, SP_LABEL_SET_NONE);
	within = next_label_set(&slot, span_of(inner)->label_set);
	ck_assert_uint_ne(plain, within);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(next_label_set(&slot, SP_LABEL_SET_NONE), plain);
		ck_assert_uint_eq(next_label_set(&slot, span_of(inner)->label_set),
				  within);
	}
	ck_assert_str_eq(
		sp_recording_span_name(recorded(),
				       sp_recording_label_set(recorded(), within)->path),
		"inner");
	/* Another name makes another set, also for what was found before. */
	strcpy(thread_name, "other");
	let_names_age();
	ck_assert_uint_ne(next_label_set(&slot, SP_LABEL_SET_NONE), plain);
	strcpy(thread_name, "worker");
	let_names_age();
	ck_assert_uint_eq(next_label_set(&slot, SP_LABEL_SET_NONE), plain);
}
END_TEST

START_TEST(too_many_names_are_one_and_are_counted)
{
	struct sp_slot threads[NAMES_TOLD_APART + 10];
	const struct sp_label_set *set = NULL;

	memset(threads, 0, sizeof(threads));
	for (int i = 0; i < NAMES_TOLD_APART + 10; i++) {
		snprintf(thread_name, sizeof(thread_name), "worker %d", i);
		set = next_set(&threads[i], SP_LABEL_SET_NONE);
		if (i < NAMES_TOLD_APART)
			ck_assert_str_eq(text_at(set->thread_name), thread_name);
		else
			ck_assert_str_eq(text_at(set->thread_name), "[other]");
	}
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_LABELS), 10);
	/* The first ones still are what they were. */
	strcpy(thread_name, "worker 3");
	let_names_age();
	set = next_set(&slot, SP_LABEL_SET_NONE);
	ck_assert_str_eq(text_at(set->thread_name), "worker 3");
}
END_TEST

START_TEST(labels_are_read_for_each_sample)
{
	label_value = "me";
	ck_assert_str_eq(text_at(next_set(&slot, SP_LABEL_SET_NONE)->labels[1]), "me");
	label_value = "you";
	ck_assert_str_eq(text_at(next_set(&slot, SP_LABEL_SET_NONE)->labels[1]), "you");
	label_value = NULL;
	ck_assert_uint_eq(next_label_set(&slot, SP_LABEL_SET_NONE), SP_LABEL_SET_NONE);
}
END_TEST

/* It may have no thread-local variables at all. */
START_TEST(thread_of_an_unknown_stack_is_not_asked_for_labels)
{
	label_value = "me";
	atomic_store(&slot.stack_high, 0);
	ck_assert_uint_eq(next_label_set(&slot, SP_LABEL_SET_NONE), SP_LABEL_SET_NONE);
}
END_TEST

START_TEST(label_of_the_span_stays)
{
	uint64_t span = create("span", SP_SPAN_NONE);

	sp_span_label(span, "user", "me");
	label_value = "you";
	ck_assert_uint_eq(next_label_set(&slot, span_of(span)->label_set),
			  span_of(span)->label_set);
}
END_TEST

START_TEST(thread_without_a_slot_has_labels_and_no_name)
{
	strcpy(thread_name, "worker");
	label_value = "me";
	ck_assert_str_eq(text_at(next_set(NULL, SP_LABEL_SET_NONE)->labels[1]), "me");
	ck_assert_uint_eq(next_set(NULL, SP_LABEL_SET_NONE)->thread_name, 0);
	ck_assert_uint_eq(next_label_set(&slot, SP_LABEL_SET_OTHER), SP_LABEL_SET_OTHER);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sample_labels");
	TCase *tcase = tcase_create("labels");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, end_spans);
	tcase_add_test(tcase, names_are_on_samples_until_they_change);
	tcase_add_test(tcase, name_that_a_handler_read_meanwhile_stays);
	tcase_add_test(tcase, names_are_not_read_for_each_sample);
	tcase_add_test(tcase, change_that_is_told_is_seen_soon);
	tcase_add_test(tcase, title_is_read_again_soon_and_the_name_with_it_is_not);
	tcase_add_test(tcase, each_set_has_one_with_names);
	tcase_add_test(tcase, too_many_names_are_one_and_are_counted);
	tcase_add_test(tcase, labels_are_read_for_each_sample);
	tcase_add_test(tcase, thread_of_an_unknown_stack_is_not_asked_for_labels);
	tcase_add_test(tcase, label_of_the_span_stays);
	tcase_add_test(tcase, thread_without_a_slot_has_labels_and_no_name);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
