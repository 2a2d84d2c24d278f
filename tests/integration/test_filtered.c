/*
 * Programs that start under a filter of system calls live as they do without us, though
 * it kills for a call that only we would make; they are then not profiled, and told so.
 */
#include "rights_calls.h"
#include "victim.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What is left of a child or a core would show: pending signals, wait() with __WALL for
 * one of any kind, and how children of its own end. */
#define SCRIPT                                                                           \
	"open F, '/proc/self/status'; print grep /^S..Pnd|^SigBlk/, <F>;"                \
	"print waitpid(-1, 0x40000000), ' ', $! + 0, \"\\n\";"                           \
	"print `echo b a | tr ' ' '\\n' | sort; exit 3`, $? >> 8, \"\\n\";"              \
	"print grep /core/, glob('*'); $x = join ',', 1 .. 200000; print length $x;"

static const char *const perl[] = {"perl", "-e", SCRIPT, NULL};

struct filter {
	unsigned int call, action;
	unsigned int other_call; /* the same for that one; 0: there is none */
};

static void set_filter(void *context)
{
	const struct filter *filter = context;
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, filter->call, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			 filter->other_call ? filter->other_call : filter->call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, filter->action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = 5, .filter = steps};
	struct rlimit core;
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	getrlimit(RLIMIT_CORE, &core);
	core.rlim_cur = core.rlim_max;
	setrlimit(RLIMIT_CORE, &core);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		_exit(77);
}

static struct victim *run_filtered(const struct filter *filter,
				   const char *const *environment)
{
	const struct victim_setup setup = {
		.argv = perl,
		.environment = environment,
		.before_exec = set_filter,
		.context = (void *)filter,
	};
	struct victim *victim = victim_run_both(&setup);

	if (victim)
		ck_assert_msg(strstr(victim->output, "\n-1 10\na\nb\n3\n") != NULL,
			      "it said: %s", victim->output);
	return victim;
}

static void assert_said(const struct victim *victim, const char *what)
{
	char line[300];

	snprintf(line, sizeof(line), "spanprof[%d]: a seccomp filter %s%s\n", victim->pid,
		 what, ": the program runs unprofiled");
	ck_assert_msg(strstr(victim->agent_lines, line) != NULL,
		      "the agent said: %s instead of: %s", victim->agent_lines, line);
}

/* The first are what a line on standard error takes. */
static const struct {
	const char *name;
	unsigned int call;
} calls[] = {
	{"poll", SYS_poll},
	{"rt_sigpending", SYS_rt_sigpending},
	{"rt_sigtimedwait", SYS_rt_sigtimedwait},
	{"clone3", SYS_clone3},
	{"close_range", SYS_close_range},
	{"fallocate", SYS_fallocate},
	{"ftruncate", SYS_ftruncate},
	{"getrusage", SYS_getrusage},
	{"linkat", SYS_linkat},
	{"membarrier", SYS_membarrier},
	{"mkdirat", SYS_mkdirat},
	{"prctl", SYS_prctl},
	{"process_vm_readv", SYS_process_vm_readv},
	{"readlinkat", SYS_readlinkat},
	{"renameat2", SYS_renameat2},
	{"sigaltstack", SYS_sigaltstack},
	{"timer_create", SYS_timer_create},
	{"timer_delete", SYS_timer_delete},
	{"timer_settime", SYS_timer_settime},
	{"unlinkat", SYS_unlinkat},
	{"unshare", SYS_unshare},
};

#define CALL_COUNT (sizeof(calls) / sizeof(calls[0]))

static const unsigned int deadly[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD,
				      SECCOMP_RET_TRAP};

#define DEADLY_COUNT (sizeof(deadly) / sizeof(deadly[0]))

START_TEST(program_lives_under_a_filter_that_kills_for_ours)
{
	const struct filter filter = {
		.call = calls[(size_t)_i / DEADLY_COUNT].call,
		.action = deadly[(size_t)_i % DEADLY_COUNT],
	};
	struct victim *victim = run_filtered(&filter, NULL);
	char said[100];

	if (victim == NULL)
		return;
	snprintf(said, sizeof(said), "in force kills for %s()",
		 calls[(size_t)_i / DEADLY_COUNT].name);
	assert_said(victim, said);
	ck_assert_uint_eq(victim_count(victim->profiles, "*"), 0);
	victim_free(victim);
}
END_TEST

/* Our thread follows without them. */
START_TEST(program_gives_up_rights_under_a_filter_that_kills_for_ours)
{
	const struct filter filter = {
		.call = rights_calls[(size_t)_i / DEADLY_COUNT],
		.action = deadly[(size_t)_i % DEADLY_COUNT],
	};
	const struct victim_setup setup = {
		.argv = (const char *const[]){"rights", "user", NULL},
		.before_exec = set_filter,
		.context = (void *)&filter,
	};
	struct victim *victim = victim_run_both(&setup);
	char path[PATH_MAX];

	if (victim == NULL)
		return;
	ck_assert_ptr_null(strstr(victim->output, "another thread"));
	ck_assert_ptr_null(strstr(victim->agent_lines, "seccomp"));
	victim_profile(victim, 0, path);
	victim_free(victim);
}
END_TEST

/* Not even of the child that says why. */
START_TEST(no_core_is_left)
{
	const struct filter filter = {
		.call = SYS_poll,
		.action = SECCOMP_RET_KILL_PROCESS,
		.other_call = SYS_getppid,
	};
	const struct victim_setup setup = {
		.argv = (const char *const[]){"perl", "-e",
					      "print 'left: ', grep /core/, glob('*')",
					      NULL},
		.before_exec = set_filter,
		.context = (void *)&filter,
	};
	struct victim *victim = victim_run_both(&setup);

	if (victim == NULL)
		return;
	ck_assert_str_eq(victim->output, "left: ");
	ck_assert_str_eq(victim->agent_lines, "");
	victim_free(victim);
}
END_TEST

START_TEST(filter_that_kills_comes_before_other_mistakes)
{
	const char *const environment[] = {"SPANPROF=nonsense=1", NULL};
	const struct filter filter = {SYS_poll, SECCOMP_RET_KILL_PROCESS, 0};
	struct victim *victim = run_filtered(&filter, environment);

	if (victim == NULL)
		return;
	assert_said(victim, "in force kills for poll()");
	victim_free(victim);
}
END_TEST

START_TEST(disabled_agent_tries_nothing)
{
	const char *const environment[] = {"SPANPROF_DISABLE=1", NULL};
	const struct filter filter = {SYS_clone3, SECCOMP_RET_KILL_PROCESS, 0};
	struct victim *victim = run_filtered(&filter, environment);

	if (victim == NULL)
		return;
	ck_assert_str_eq(victim->agent_lines, "");
	victim_free(victim);
}
END_TEST

START_TEST(jemalloc_does_not_serve_where_its_calls_kill)
{
	const char *const environment[] = {"SPANPROF_ALLOCATOR=jemalloc", NULL};
	const struct filter filter = {SYS_madvise, SECCOMP_RET_KILL_PROCESS, 0};
	struct victim *victim = run_filtered(&filter, environment);

	if (victim == NULL)
		return;
	assert_said(victim, "in force kills for madvise()");
	victim_free(victim);
}
END_TEST

START_TEST(filter_that_refuses_is_profiled)
{
	const struct filter filter = {SYS_unshare, SECCOMP_RET_ERRNO | EPERM, 0};
	struct victim *victim = run_filtered(&filter, NULL);

	if (victim == NULL)
		return;
	ck_assert_ptr_null(strstr(victim->agent_lines, "seccomp"));
	ck_assert_uint_ge(victim_count(victim->profiles, "perl.*.cpu.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

START_TEST(program_that_may_have_no_child_is_not_profiled)
{
	const char *const count[] = {"perl", "-e", "print 1 + 2", NULL};
	const struct filter filter = {SYS_clone, SECCOMP_RET_ERRNO | EPERM, 0};
	const struct victim_setup setup = {
		.argv = count,
		.before_exec = set_filter,
		.context = (void *)&filter,
	};
	struct victim *victim = victim_run_both(&setup);

	if (victim == NULL)
		return;
	assert_said(victim, "is in force, and what it allows cannot be tried");
	ck_assert_uint_eq(victim_count(victim->profiles, "*"), 0);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, program_lives_under_a_filter_that_kills_for_ours, 0,
			    CALL_COUNT * DEADLY_COUNT);
	tcase_add_loop_test(tcase,
			    program_gives_up_rights_under_a_filter_that_kills_for_ours, 0,
			    RIGHTS_CALL_COUNT * DEADLY_COUNT);
	tcase_add_test(tcase, no_core_is_left);
	tcase_add_test(tcase, filter_that_kills_comes_before_other_mistakes);
	tcase_add_test(tcase, disabled_agent_tries_nothing);
	tcase_add_test(tcase, jemalloc_does_not_serve_where_its_calls_kill);
	tcase_add_test(tcase, filter_that_refuses_is_profiled);
	tcase_add_test(tcase, program_that_may_have_no_child_is_not_profiled);
}

int main(void)
{
	return victim_main("filtered", add);
}
