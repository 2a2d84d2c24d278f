/*
 * Spans that several threads work for, and those that a thread leaves when it ends.
 */
#include "sp_heap_capture.h"
#include "sp_thread.h"
#include "span_stack.h"
#include "span_table.h"
#include "test_span_capture_fixture.h"

#include <pthread.h>

/* --- threads --- */

#define THREADS 8U
#define STAYS 2000U

static uint64_t shared_span, inner_span;

struct worker {
	uint64_t least, most;
};

static void *work_for_shared_span(void *argument)
{
	struct worker *worker = argument;

	for (unsigned int i = 0; i < STAYS; i++) {
		uint64_t before = sp_clock_ticks(), in, out;
		uint64_t child;

		sp_span_enter(shared_span, 0);
		in = sp_clock_ticks();
		child = create("child", SP_SPAN_CURRENT);
		sp_span_enter(child, 0);
		sp_span_exit(child);
		sp_span_close(child);
		ck_assert_str_eq(current_name(), "shared");
		out = sp_clock_ticks();
		sp_span_exit(shared_span);
		ck_assert_ptr_null(current_name());
		worker->least += out - in;
		worker->most += sp_clock_ticks() - before;
	}
	sp_span_thread_end();
	return NULL;
}

/* Threads that meet a path at once may add it more than once; one of them counts. */
static uint64_t spans_of_paths_from(uint32_t path)
{
	uint64_t used = sp_recording_used(recorded(), SP_SECTION_SPAN_PATHS), spans = 0;

	for (; path < used; path++)
		spans += sp_atomic_value(&test_path_at(recorded(), path)->spans);
	return spans;
}

START_TEST(one_span_may_be_on_many_threads_at_once)
{
	struct worker workers[THREADS] = {{0, 0}};
	pthread_t threads[THREADS];
	uint64_t least = 0, most = 0;

	shared_span = create("shared", SP_SPAN_NONE);
	for (unsigned int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work_for_shared_span,
						&workers[i]),
				 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		least += workers[i].least;
		most += workers[i].most;
	}
	ck_assert_uint_eq(sp_atomic_value(&span_of(shared_span)->entered), 1);
	ck_assert_uint_ge(busy_of(shared_span), least);
	ck_assert_uint_le(busy_of(shared_span), most);
	ck_assert_uint_eq(entered_now(shared_span), 0);
	sp_span_close(shared_span);
	drain();
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), 1);
	ck_assert_uint_eq(spans_of_paths_from(1), THREADS * STAYS);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE) + lost(SP_LOSS_SPAN_NO_ROOM), 0);
}
END_TEST

/* --- nobody is in it --- */

/* A thread that enters, waits until it is told to leave, and says that it has. */
struct guest {
	pthread_t thread;
	pthread_barrier_t is_inside, is_to_leave;
};

static void *be_inside(void *argument)
{
	struct guest *guest = argument;

	sp_span_enter(shared_span, 0);
	pthread_barrier_wait(&guest->is_inside);
	pthread_barrier_wait(&guest->is_to_leave);
	sp_span_exit(shared_span);
	sp_span_thread_end();
	return NULL;
}

static void let_in(struct guest *guest)
{
	pthread_barrier_init(&guest->is_inside, NULL, 2);
	pthread_barrier_init(&guest->is_to_leave, NULL, 2);
	ck_assert_int_eq(pthread_create(&guest->thread, NULL, be_inside, guest), 0);
	pthread_barrier_wait(&guest->is_inside);
}

static void let_out(struct guest *guest)
{
	pthread_barrier_wait(&guest->is_to_leave);
	pthread_join(guest->thread, NULL);
	pthread_barrier_destroy(&guest->is_inside);
	pthread_barrier_destroy(&guest->is_to_leave);
}

static uint64_t idle_of_path(uint32_t path)
{
	return sp_atomic_value(&test_path_at(recorded(), path)->idle_ticks);
}

/* Two threads at once, of which the second leaves last, and later a third. */
START_TEST(span_idles_while_it_is_on_no_thread)
{
	uint64_t before_create = sp_clock_ticks(), before_in, before_out, idle;
	uint64_t least = 0, most = 0, out;
	struct guest first, second, third;

	shared_span = create("shared", SP_SPAN_NONE);
	out = sp_clock_ticks();
	spend_ticks();
	before_in = sp_clock_ticks();
	let_in(&first);
	least += before_in - out;
	most += sp_clock_ticks() - before_create;
	let_in(&second);
	for (unsigned int i = 0; i < 100; i++)
		spend_ticks();
	let_out(&first);
	spend_ticks();
	before_out = sp_clock_ticks();
	let_out(&second);
	out = sp_clock_ticks();
	drain();
	spend_ticks();
	before_in = sp_clock_ticks();
	let_in(&third);
	least += before_in - out;
	most += sp_clock_ticks() - before_out;
	drain();
	before_out = sp_clock_ticks();
	let_out(&third);
	sp_span_close(shared_span);
	most += sp_clock_ticks() - before_out;
	drain();
	idle = idle_of_path(0);
	ck_assert_uint_ge(idle, least);
	ck_assert_uint_le(idle, most);
	ck_assert_uint_eq(sp_atomic_value(&test_path_at(recorded(), 0)->spans), 1);
}
END_TEST

/* Kept from going on between its look at the clock and its leaving. */
START_TEST(last_one_out_leaves_after_all_others)
{
	uint64_t handle = create("shared", SP_SPAN_NONE), left, others_left;
	uint64_t now_ticks = sp_clock_ticks();
	struct sp_span *span = span_of(handle), *first, *second;

	ck_assert(sp_span_join(span, handle, &now_ticks, &first));
	left = sp_clock_ticks();
	now_ticks = sp_clock_ticks();
	ck_assert(sp_span_join(span, handle, &now_ticks, &second));
	spend_ticks();
	others_left = sp_clock_ticks();
	sp_span_part(span, &others_left, 0, &second);
	sp_span_part(span, &left, 0, &first);
	ck_assert_uint_ge(left, others_left);
	ck_assert_ptr_null(first);
	/* Who is alone again is believed. */
	now_ticks = sp_clock_ticks();
	ck_assert(sp_span_join(span, handle, &now_ticks, &first));
	left = others_left = sp_clock_ticks();
	spend_ticks();
	sp_span_part(span, &left, 0, &first);
	ck_assert_uint_eq(left, others_left);
}
END_TEST

static void *exit_shared_span(void *unused)
{
	sp_span_exit(shared_span);
	return unused;
}

static void in_a_thread(void *(*function)(void *))
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, function, NULL), 0);
	pthread_join(thread, NULL);
}

START_TEST(exit_on_another_thread_ends_nobodys_stay)
{
	shared_span = create("shared", SP_SPAN_NONE);
	sp_span_enter(shared_span, 0);
	in_a_thread(exit_shared_span);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 1);
	ck_assert_str_eq(current_name(), "shared");
	ck_assert_uint_eq(entered_now(shared_span), 1);
	sp_span_exit(shared_span);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_MISUSE), 1);
}
END_TEST

static void *end_inside(void *unused)
{
	struct sp_slot slot;

	memset(&slot, 0, sizeof(slot));
	sp_span_enter(shared_span, 0);
	sp_span_enter(shared_span, 0);
	sp_span_thread_begin(&slot);
	spend_ticks();
	sp_span_thread_end();
	ck_assert_uint_eq(atomic_load(&slot.label_set), SP_LABEL_SET_NONE);
	/* Destructors of the program may come after us. */
	sp_span_enter(shared_span, 0);
	sp_span_exit(shared_span);
	ck_assert_uint_eq(sp_span_current(), SP_SPAN_NONE);
	return unused;
}

START_TEST(thread_that_ends_leaves_its_spans)
{
	shared_span = create("shared", SP_SPAN_NONE);
	in_a_thread(end_inside);
	ck_assert_uint_eq(entered_now(shared_span), 0);
	ck_assert_uint_ge(busy_of(shared_span), 4000);
	ck_assert_uint_eq(state_of(shared_span), SP_SPAN_OPEN);
}
END_TEST

START_TEST(threads_without_spans_are_the_process_spans)
{
	struct sp_slot slot;
	uint64_t root = create("process", SP_SPAN_NONE);
	uint64_t span;

	memset(&slot, 0, sizeof(slot));
	sp_span_set_root(root);
	ck_assert_str_eq(current_name(), "process");
	ck_assert_uint_eq(sp_span_label_set_of(&slot), span_of(root)->label_set);
	span = create("span", SP_SPAN_CURRENT);
	ck_assert_uint_eq(span_of(span)->parent, root);
	sp_span_enter(span, 0);
	ck_assert_str_eq(current_name(), "span");
	sp_span_exit(span);
	ck_assert_str_eq(current_name(), "process");
}
END_TEST

/* --- the end of the program, told by another thread --- */

static _Atomic bool is_over, is_inside;
static uint64_t cpu_least, cpu_most;

static uint64_t own_cpu_ns(void)
{
	return sp_clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void take_slot(void)
{
	uint32_t index;
	struct sp_slot *slot = test_append(recorded(), SP_SECTION_SLOTS, 1, &index);

	ck_assert_ptr_nonnull(slot);
	atomic_store(&slot->tid, (uint32_t)sp_syscall0(SYS_gettid));
	atomic_store(&slot->state, SP_SLOT_LIVE);
	sp_thread_set_own_slot(slot);
}

/* Short stays, and at the end one in which it waits, with another inside. */
static void *stay_on(void *unused)
{
	uint64_t inner, before, in;

	take_slot();
	inner = create("inner", SP_SPAN_NONE);
	for (unsigned int i = 0; i < STAYS; i++) {
		before = own_cpu_ns();
		sp_span_enter(shared_span, 0);
		in = own_cpu_ns();
		sp_span_enter(inner, 0);
		atomic_store(&is_inside, i == STAYS - 1);
		while (i == STAYS - 1 && !atomic_load(&is_over))
			;
		sp_span_exit(inner);
		cpu_least += own_cpu_ns() - in;
		sp_span_exit(shared_span);
		cpu_most += own_cpu_ns() - before;
	}
	sp_span_thread_end();
	sp_thread_set_own_slot(NULL);
	return unused;
}

START_TEST(cpu_time_of_others_is_added_up_once)
{
	uint64_t cpu_ns;
	pthread_t thread;

	cpu_least = cpu_most = 0;
	atomic_store(&is_over, false);
	atomic_store(&is_inside, false);
	shared_span = create("shared", SP_SPAN_NONE);
	ck_assert_int_eq(pthread_create(&thread, NULL, stay_on, NULL), 0);
	while (!atomic_load(&is_inside))
		sp_span_settle();
	cpu_ns = sp_atomic_value(&span_of(shared_span)->cpu_ns);
	/* It stays inside, and uses more. */
	while (sp_atomic_value(&span_of(shared_span)->cpu_ns) <= cpu_ns)
		sp_span_settle();
	ck_assert_uint_eq(entered_now(shared_span), 1);
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(entered_now(shared_span), 0);
	cpu_ns = sp_atomic_value(&span_of(shared_span)->cpu_ns);
	ck_assert_uint_ge(cpu_ns, cpu_least);
	ck_assert_uint_le(cpu_ns, cpu_most);
}
END_TEST

/* A thread with a slot that is one of very many. */
static void *stay_in_late_slot(void *unused)
{
	uint32_t index;

	test_append(recorded(), SP_SECTION_SLOTS, 10000, &index);
	take_slot();
	sp_span_enter(shared_span, 0);
	cpu_least = own_cpu_ns();
	while (own_cpu_ns() < cpu_least + 1000000)
		;
	atomic_store(&is_inside, true);
	while (!atomic_load(&is_over))
		;
	sp_span_thread_end();
	sp_thread_set_own_slot(NULL);
	return unused;
}

START_TEST(cpu_time_of_very_many_threads_is_known)
{
	pthread_t thread;

	atomic_store(&is_over, false);
	atomic_store(&is_inside, false);
	shared_span = create("shared", SP_SPAN_NONE);
	ck_assert_int_eq(pthread_create(&thread, NULL, stay_in_late_slot, NULL), 0);
	while (!atomic_load(&is_inside))
		;
	sp_span_settle();
	ck_assert_uint_ge(sp_atomic_value(&span_of(shared_span)->cpu_ns), 1000000);
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
}
END_TEST

static void *look_on(void *unused)
{
	while (!atomic_load(&is_over))
		sp_span_settle_others(true);
	return unused;
}

/* That is done for shared_span, which nobody is in any more afterwards. */
static void do_while_looked_at(void *(*work)(void *), unsigned int times)
{
	pthread_t looker;

	atomic_store(&is_over, false);
	cpu_most = 0;
	shared_span = create("shared", SP_SPAN_NONE);
	ck_assert_int_eq(pthread_create(&looker, NULL, look_on, NULL), 0);
	for (unsigned int i = 0; i < times; i++)
		in_a_thread(work);
	atomic_store(&is_over, true);
	pthread_join(looker, NULL);
	ck_assert_uint_eq(entered_now(shared_span), 0);
	ck_assert_uint_le(sp_atomic_value(&span_of(shared_span)->cpu_ns), cpu_most);
	ck_assert_uint_eq(lost(SP_LOSS_SPAN_NO_ROOM) + lost(SP_LOSS_SPAN_MISUSE), 0);
}

static void end_with_slot(void)
{
	struct sp_slot *slot = sp_thread_own_slot();

	sp_span_thread_end();
	cpu_most += own_cpu_ns();
	atomic_store(&slot->state, SP_SLOT_ENDED);
	sp_heap_self = NULL;
	sp_thread_set_own_slot(NULL);
}

static void *come_and_go(void *unused)
{
	take_slot();
	sp_span_enter(shared_span, 0);
	end_with_slot();
	return unused;
}

/* Of those that end meanwhile nothing is touched any more, nor added twice. */
START_TEST(threads_may_end_while_they_are_looked_at)
{
	do_while_looked_at(come_and_go, STAYS);
}
END_TEST

static void allocate(unsigned int times)
{
	sp_heap_self->bytes += 10 * (uint64_t)times;
	sp_heap_self->allocations += times;
}

static void check_allocations(uint64_t handle, uint64_t times)
{
	ck_assert_uint_eq(sp_atomic_value(&span_of(handle)->allocations), times);
	ck_assert_uint_eq(sp_atomic_value(&span_of(handle)->alloc_bytes), 10 * times);
}

static void enter_with_heap(void)
{
	static struct sp_heap_thread heap;

	take_slot();
	sp_heap_self = &heap;
	sp_span_enter(shared_span, 0);
}

/* With something that is still to be charged. */
static void go_deeper(void)
{
	allocate(1);
	sp_span_enter(shared_span, 0);
}

#define DEPTH 3000U

/* Its stack of spans grows. */
static void *go_deep(void *unused)
{
	enter_with_heap();
	for (unsigned int i = 0; i < DEPTH; i++)
		go_deeper();
	for (unsigned int i = 0; i < DEPTH; i++)
		sp_span_exit(shared_span);
	ck_assert_str_eq(current_name(), "shared");
	end_with_slot();
	return unused;
}

START_TEST(stacks_may_grow_while_they_are_looked_at)
{
	do_while_looked_at(go_deep, STAYS / 10);
	check_allocations(shared_span, STAYS / 10 * (uint64_t)DEPTH);
}
END_TEST

/* As stay_on(); what it does outside of both is nobody's. */
static void *allocate_inside(void *unused)
{
	static struct sp_heap_thread heap;

	take_slot();
	sp_heap_self = &heap;
	for (unsigned int i = 0; i < STAYS; i++) {
		allocate(5);
		sp_span_enter(shared_span, 0);
		allocate(1);
		sp_span_enter(inner_span, 0);
		allocate(2);
		sp_span_exit(inner_span);
		allocate(i == STAYS - 1 ? 1000 : 2);
		atomic_store(&is_inside, i == STAYS - 1);
		while (i == STAYS - 1 && !atomic_load(&is_over))
			;
		sp_span_exit(shared_span);
	}
	sp_span_thread_end();
	sp_heap_self = NULL;
	sp_thread_set_own_slot(NULL);
	return unused;
}

START_TEST(allocations_of_others_are_added_up_once)
{
	uint64_t all = 3 * (STAYS - 1) + 1 + 1000;
	pthread_t thread;

	atomic_store(&is_over, false);
	atomic_store(&is_inside, false);
	shared_span = create("shared", SP_SPAN_NONE);
	inner_span = create("inner", SP_SPAN_NONE);
	ck_assert_int_eq(pthread_create(&thread, NULL, allocate_inside, NULL), 0);
	while (!atomic_load(&is_inside))
		sp_span_settle();
	/* It stays inside, and has told nobody. */
	sp_span_settle();
	check_allocations(shared_span, all);
	ck_assert_uint_eq(entered_now(shared_span), 1);
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	check_allocations(shared_span, all);
	check_allocations(inner_span, 2 * (uint64_t)STAYS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span_threads");
	TCase *tc = tcase_create("span_threads");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, begin_plain_spans, end_spans);
	tcase_add_test(tc, one_span_may_be_on_many_threads_at_once);
	tcase_add_test(tc, span_idles_while_it_is_on_no_thread);
	tcase_add_test(tc, last_one_out_leaves_after_all_others);
	tcase_add_test(tc, exit_on_another_thread_ends_nobodys_stay);
	tcase_add_test(tc, thread_that_ends_leaves_its_spans);
	tcase_add_test(tc, threads_without_spans_are_the_process_spans);
	tcase_add_test(tc, cpu_time_of_others_is_added_up_once);
	tcase_add_test(tc, cpu_time_of_very_many_threads_is_known);
	tcase_add_test(tc, threads_may_end_while_they_are_looked_at);
	tcase_add_test(tc, stacks_may_grow_while_they_are_looked_at);
	tcase_add_test(tc, allocations_of_others_are_added_up_once);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
