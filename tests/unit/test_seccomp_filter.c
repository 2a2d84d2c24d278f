/* Verdicts of seccomp filters, as the kernel would give them. */
#include "sp_seccomp_filter.h"

#include <check.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>

#define LOAD(field)                                                                      \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(verdict) BPF_STMT(BPF_RET | BPF_K, verdict)
#define RUN(filter, number)                                                              \
	sp_seccomp_filter_run(filter, sizeof(filter) / sizeof((filter)[0]), number)

START_TEST(a_list_of_allowed_calls_kills_the_others)
{
	const struct sock_filter filter[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		RETURN(SECCOMP_RET_KILL_PROCESS),
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_KILL_THREAD),
	};

	ck_assert_uint_eq(RUN(filter, SYS_write), SECCOMP_RET_ALLOW);
	ck_assert_uint_eq(RUN(filter, SYS_exit), SECCOMP_RET_ALLOW);
	ck_assert_uint_eq(RUN(filter, SYS_futex), SECCOMP_RET_KILL_THREAD);
}
END_TEST

START_TEST(ranges_and_always_jumps_are_followed)
{
	const struct sock_filter filter[] = {
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 100, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 200, 1, 0),
		RETURN(SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_JMP | BPF_JA, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_TRAP),
	};

	ck_assert_uint_eq(RUN(filter, 99), SECCOMP_RET_TRAP);
	ck_assert_uint_eq(RUN(filter, 100), SECCOMP_RET_ALLOW);
	ck_assert_uint_eq(RUN(filter, 200), SECCOMP_RET_ALLOW);
	ck_assert_uint_eq(RUN(filter, 201), SECCOMP_RET_TRAP);
}
END_TEST

START_TEST(arithmetic_memory_and_registers_work)
{
	/* ((number * 4 + 12) >> 1 | 1) - length of the data, by way of x and memory */
	const struct sock_filter filter[] = {
		LOAD(nr),
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 4),
		BPF_STMT(BPF_ST, 3),
		BPF_STMT(BPF_LDX | BPF_MEM, 3),
		BPF_STMT(BPF_LD | BPF_IMM, 12),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 1),
		BPF_STMT(BPF_ALU | BPF_OR | BPF_K, 1),
		BPF_STMT(BPF_LDX | BPF_LEN, 0),
		BPF_STMT(BPF_ALU | BPF_SUB | BPF_X, 0),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};

	ck_assert_uint_eq(RUN(filter, 50),
			  ((50 * 4 + 12) >> 1 | 1) - sizeof(struct seccomp_data));
}
END_TEST

START_TEST(a_filter_without_an_end_kills)
{
	const struct sock_filter ends_early[] = {LOAD(nr)};
	const struct sock_filter jumps_out[] = {
		BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff),
		RETURN(SECCOMP_RET_ALLOW),
	};
	const struct sock_filter loads_beyond[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, sizeof(struct seccomp_data)),
		RETURN(SECCOMP_RET_ALLOW),
	};
	const struct sock_filter stores_beyond[] = {
		BPF_STMT(BPF_ST, BPF_MEMWORDS),
		RETURN(SECCOMP_RET_ALLOW),
	};

	ck_assert_uint_eq(RUN(ends_early, 1), SECCOMP_RET_KILL_PROCESS);
	ck_assert_uint_eq(RUN(jumps_out, 1), SECCOMP_RET_KILL_PROCESS);
	ck_assert_uint_eq(RUN(loads_beyond, 1), SECCOMP_RET_KILL_PROCESS);
	ck_assert_uint_eq(RUN(stores_beyond, 1), SECCOMP_RET_KILL_PROCESS);
}
END_TEST

START_TEST(only_verdicts_that_come_back_are_survivable)
{
	ck_assert(sp_seccomp_is_survivable(SECCOMP_RET_ALLOW));
	ck_assert(sp_seccomp_is_survivable(SECCOMP_RET_LOG));
	ck_assert(sp_seccomp_is_survivable(SECCOMP_RET_ERRNO | 1));
	ck_assert(!sp_seccomp_is_survivable(SECCOMP_RET_TRAP));
	ck_assert(!sp_seccomp_is_survivable(SECCOMP_RET_TRACE | 5));
	ck_assert(!sp_seccomp_is_survivable(SECCOMP_RET_KILL_THREAD));
	ck_assert(!sp_seccomp_is_survivable(SECCOMP_RET_KILL_PROCESS));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("seccomp_filter");
	TCase *tcase = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, a_list_of_allowed_calls_kills_the_others);
	tcase_add_test(tcase, ranges_and_always_jumps_are_followed);
	tcase_add_test(tcase, arithmetic_memory_and_registers_work);
	tcase_add_test(tcase, a_filter_without_an_end_kills);
	tcase_add_test(tcase, only_verdicts_that_come_back_are_survivable);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
