/* Our handler against those who replace it, edit it or send it signals of their own. */
#include "sp_signal.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define HIDDEN_SIGNAL 32
#define KERNEL_SA_RESTORER 0x04000000

static int own_runs, program_runs;
static uint64_t program_mask;
static struct sp_signal_action installed;

static uint64_t read_mask(void)
{
	uint64_t mask = 0;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask));
	return mask;
}

static void own_handler(int signo, siginfo_t *info, void *context)
{
	own_runs++;
	ck_assert_uint_eq(read_mask() | sp_signal_bit(SIGKILL) | sp_signal_bit(SIGSTOP),
			  ~UINT64_C(0));
	sp_signal_forward(signo, info, context);
}

static void program_handler(int signo, siginfo_t *info, void *context)
{
	ck_assert_int_eq(signo, HIDDEN_SIGNAL);
	ck_assert_int_eq(info->si_code, SI_TKILL);
	ck_assert_ptr_nonnull(context);
	program_mask = read_mask();
	program_runs++;
}

static void send(void)
{
	syscall(SYS_tgkill, getpid(), gettid(), HIDDEN_SIGNAL);
}

static void replace(void *handler, uint64_t flags, uint64_t mask)
{
	struct sp_signal_action action = installed;

	action.handler = handler;
	action.flags = flags | SA_SIGINFO | KERNEL_SA_RESTORER;
	action.mask = mask;
	ck_assert_int_eq(sp_signal_write_action(HIDDEN_SIGNAL, &action, NULL), 0);
}

static void setup(void)
{
	ck_assert_int_eq(sp_signal_choose(0), HIDDEN_SIGNAL);
	ck_assert_int_eq(sp_signal_install(own_handler), 0);
	ck_assert_int_eq(sp_signal_read_action(HIDDEN_SIGNAL, &installed), 0);
	own_runs = program_runs = 0;
}

START_TEST(installed_handler_is_left_alone)
{
	ck_assert_ptr_eq(installed.handler, (void *)own_handler);
	ck_assert_uint_eq(installed.flags, SA_SIGINFO | SA_RESTART | KERNEL_SA_RESTORER);
	ck_assert(sp_signal_is_installed());
	ck_assert(!sp_signal_verify());
}
END_TEST

START_TEST(replaced_handler_comes_back_and_passes_on)
{
	replace((void *)program_handler, 0, 0);
	send();
	ck_assert_int_eq(own_runs, 0);
	ck_assert_int_eq(program_runs, 1);

	ck_assert(sp_signal_verify());
	ck_assert(!sp_signal_verify());
	send();
	ck_assert_int_eq(own_runs, 1);
	ck_assert_int_eq(program_runs, 2);
}
END_TEST

START_TEST(handler_passed_on_to_sees_the_mask_that_the_kernel_would_give)
{
	uint64_t blocked = sp_signal_bit(SIGUSR1);

	replace((void *)program_handler, 0, sp_signal_bit(SIGUSR2));
	sp_signal_verify();
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &blocked, NULL, sizeof(blocked));
	send();
	ck_assert_uint_eq(program_mask, sp_signal_bit(HIDDEN_SIGNAL) |
						sp_signal_bit(SIGUSR1) |
						sp_signal_bit(SIGUSR2));
	ck_assert_uint_eq(read_mask(), blocked);

	replace((void *)program_handler, SA_NODEFER, 0);
	sp_signal_verify();
	send();
	ck_assert_uint_eq(program_mask, blocked);
}
END_TEST

START_TEST(wish_for_the_alternate_stack_outlives_a_replacement)
{
	struct sp_signal_action now;

	/* Go's runtime adds the flag to the handler that it finds ... */
	replace((void *)own_handler, SA_ONSTACK, ~UINT64_C(0));
	ck_assert(!sp_signal_verify());
	/* ... and the first cancellation replaces that. */
	replace((void *)program_handler, 0, 0);
	ck_assert(sp_signal_verify());
	sp_signal_read_action(HIDDEN_SIGNAL, &now);
	ck_assert_ptr_eq(now.handler, (void *)own_handler);
	ck_assert_uint_ne(now.flags & SA_ONSTACK, 0);
}
END_TEST

START_TEST(foreign_handler_with_the_alternate_stack_hands_down_the_wish)
{
	struct sp_signal_action now;

	replace((void *)program_handler, SA_ONSTACK, 0);
	ck_assert(sp_signal_verify());
	sp_signal_read_action(HIDDEN_SIGNAL, &now);
	ck_assert_uint_ne(now.flags & SA_ONSTACK, 0);
}
END_TEST

START_TEST(ignored_signal_does_nothing)
{
	replace((void *)SIG_IGN, 0, 0);
	ck_assert(sp_signal_verify());
	send();
	ck_assert_int_eq(own_runs, 1);
	ck_assert_int_eq(program_runs, 0);
}
END_TEST

START_TEST(defaulted_signal_ends_the_process)
{
	replace((void *)SIG_DFL, 0, 0);
	ck_assert(sp_signal_verify());
	send();
}
END_TEST

START_TEST(late_signal_of_a_timer_never_ends_the_process)
{
	siginfo_t info = {.si_signo = HIDDEN_SIGNAL, .si_code = SI_TIMER};
	ucontext_t context = {0};

	replace((void *)SIG_DFL, 0, 0);
	sp_signal_verify();
	sp_signal_forward(HIDDEN_SIGNAL, &info, &context);
}
END_TEST

START_TEST(numbers_that_are_not_free_real_time_signals_are_refused)
{
	ck_assert_int_eq(sp_signal_choose(SIGPROF), -EINVAL);
	ck_assert_int_eq(sp_signal_choose(-1), -EINVAL);
	ck_assert_int_eq(sp_signal_choose(33), -EINVAL);
	ck_assert_int_eq(sp_signal_choose(65), -EINVAL);
	signal(SIGRTMIN, SIG_IGN);
	ck_assert_int_eq(sp_signal_choose(SIGRTMIN), SIGRTMIN);
	signal(SIGRTMIN, (void (*)(int))(void (*)(void))program_handler);
	ck_assert_int_eq(sp_signal_choose(SIGRTMIN), -EBUSY);
	ck_assert_int_eq(sp_signal_number(), SIGRTMIN);
}
END_TEST

START_TEST(own_stack_is_given_and_given_back_unseen)
{
	stack_t seen = {0}, real = {0};

	sp_signal_use_own_stack();
	syscall(SYS_sigaltstack, NULL, &real);
	ck_assert_int_eq(real.ss_flags & SS_DISABLE, 0);
	ck_assert_uint_ge(real.ss_size, 32768);
	ck_assert_int_eq(sigaltstack(NULL, &seen), 0);
	ck_assert_int_eq(seen.ss_flags, SS_DISABLE);
	ck_assert_uint_eq(seen.ss_size, 0);
	ck_assert_ptr_null(seen.ss_sp);

	sp_signal_thread_end();
	syscall(SYS_sigaltstack, NULL, &real);
	ck_assert_int_eq(real.ss_flags, SS_DISABLE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("signal_own");
	TCase *tcase = tcase_create("own handler");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, installed_handler_is_left_alone);
	tcase_add_test(tcase, replaced_handler_comes_back_and_passes_on);
	tcase_add_test(tcase,
		       handler_passed_on_to_sees_the_mask_that_the_kernel_would_give);
	tcase_add_test(tcase, wish_for_the_alternate_stack_outlives_a_replacement);
	tcase_add_test(tcase,
		       foreign_handler_with_the_alternate_stack_hands_down_the_wish);
	tcase_add_test(tcase, ignored_signal_does_nothing);
	tcase_add_test_raise_signal(tcase, defaulted_signal_ends_the_process,
				    HIDDEN_SIGNAL);
	tcase_add_test(tcase, late_signal_of_a_timer_never_ends_the_process);
	tcase_add_test(tcase, numbers_that_are_not_free_real_time_signals_are_refused);
	tcase_add_test(tcase, own_stack_is_given_and_given_back_unseen);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
