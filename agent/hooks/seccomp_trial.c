/*
 * The trial of sp_seccomp_trial.h: a process made by the bare clone, that nobody's
 * SIGCHLD and wait() know, makes each call in vain and ends. Until that is known, only
 * calls that the loader has made, clone and wait4 are made here. Of the trial remains a
 * process number, and what it cost in RUSAGE_CHILDREN: some 0.2 ms, and its size.
 * Context: init, and the child.
 */
#include "sp_seccomp_trial.h"

#include "sp_compiler.h"
#include "sp_held_signals.h"
#include "sp_hooks.h"
#include "sp_log.h"
#include "sp_pages.h"
#include "sp_seccomp_needs.h"
#include "sp_signal.h"
#include "sp_syscall.h"
#include "sp_text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define KERNEL_SA_RESTORER 0x04000000U

/* signal_restorer.S */
extern const char sp_signal_restorer[];

enum verdict {
	NOT_TRIED,
	PASSES,
	KILLS,
	CANNOT_BE_TRIED,
};

/* What the child says of itself, in memory that both share. */
struct progress {
	const char *call;    /* begun last */
	size_t preparations; /* that many are made */
	bool is_log_allowed;
	bool is_about_rights; /* only those calls, and the last, were left */
};

static enum verdict verdict;
static struct progress result;

/* --- is there one? --- */

/* Of all that is read, in pieces; true when the text is followed by anything but '0'. */
static bool has_filter(const char *piece, long piece_bytes, size_t *matched)
{
	static const char text[] = "\nSeccomp:\t";

	for (long i = 0; i < piece_bytes; i++) {
		if (text[*matched] == '\0')
			return piece[i] != '0';
		if (piece[i] == text[*matched])
			(*matched)++;
		else
			*matched = piece[i] == '\n';
	}
	return false;
}

/* Also where nobody can know. */
static bool may_be_filtered(void)
{
	long fd = sp_syscall4(SYS_openat, AT_FDCWD, "/proc/thread-self/status",
			      O_RDONLY | O_CLOEXEC, 0);
	size_t matched = 0;
	bool is_filtered = false;
	char piece[2048];
	long bytes;

	if (fd < 0)
		return true;
	do {
		bytes = sp_syscall3(SYS_read, fd, piece, sizeof(piece));
		is_filtered = bytes < 0 || has_filter(piece, bytes, &matched);
	} while (bytes > 0 && !is_filtered);
	sp_syscall1(SYS_close, fd);
	return is_filtered;
}

/* --- the child --- */

static _Noreturn void end_child(void)
{
	sp_syscall1(SYS_exit, 0);
	sp_syscall1(SYS_exit_group, 1);
	__builtin_trap();
}

static void on_signal(int signal_number)
{
	(void)signal_number;
}

/* Comes back from a handler as ours does, with the one signal that it lets in. */
static void try_return(void)
{
	const struct sp_signal_action action = {
		.handler = (void *)on_signal,
		.flags = KERNEL_SA_RESTORER,
		.restorer = (void *)sp_signal_restorer,
	};
	uint64_t let_in = sp_signal_bit(SIGURG);

	sp_signal_write_action(SIGURG, &action, NULL);
	sp_syscall4(SYS_rt_sigprocmask, SIG_UNBLOCK, &let_in, NULL, sizeof(let_in));
	sp_syscall3(SYS_tgkill, sp_syscall0(SYS_getpid), sp_syscall0(SYS_gettid), SIGURG);
}

/* A handler of the program's, from a constructor, is not for this process. */
static void hold_signals(void)
{
	sp_signals_hold();
}

/* The kernel takes a limit of 1 for "no core, by no program either". */
static void limit_core(void)
{
	const struct rlimit limit = {.rlim_cur = 1, .rlim_max = 1};

	sp_syscall4(SYS_prlimit64, 0, RLIMIT_CORE, &limit, NULL);
}

static void forbid_dumps(void)
{
	sp_syscall2(SYS_prctl, PR_SET_DUMPABLE, 0);
}

static const struct {
	const char *call;
	void (*make)(void);
} preparations[] = {
	{"rt_sigprocmask", hold_signals},
	{"prlimit64", limit_core},
	{"prctl", forbid_dumps},
};

/* What leaves nothing of a child, should it be killed: the first so many. */
static void prepare(struct progress *progress, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		progress->call = preparations[i].call;
		preparations[i].make();
		progress->preparations = i + 1;
	}
}

static void try_calls(struct progress *progress, const struct sp_seccomp_need *needs,
		      size_t count)
{
	for (size_t i = 0; i < count; i++) {
		progress->call = needs[i].name;
		sp_syscall6(needs[i].number, -1, -1, -1, -1, -1, -1);
	}
}

static _Noreturn void try_all(struct progress *progress, bool has_rights)
{
	prepare(progress, SP_ARRAY_COUNT(preparations));
	try_calls(progress, sp_seccomp_needs, SP_SECCOMP_NEEDS_OF_LOG);
	progress->is_log_allowed = true;
	try_calls(progress, sp_seccomp_needs + SP_SECCOMP_NEEDS_OF_LOG,
		  sp_seccomp_need_count - SP_SECCOMP_NEEDS_OF_LOG -
			  SP_SECCOMP_NEEDS_WITHOUT_RETURN);
	progress->call = "getcwd";
	sp_syscall2(SYS_getcwd, -1, -1);
	progress->call = "rt_sigreturn";
	try_return();
	if (has_rights) {
		progress->is_about_rights = true;
		try_calls(progress, sp_seccomp_rights, sp_seccomp_rights_count);
		progress->is_about_rights = false;
	}
	progress->call = "exit";
	end_child();
}

/* --- the program --- */

/* 0 in the child, as from fork(). Without an exit signal only __WALL sees it. */
static long make_child(void)
{
	return sp_syscall6(SYS_clone, 0, 0, 0, 0, 0, 0);
}

/* 0 or -errno. */
static long wait_for_child(long child, int *status)
{
	long waited;

	do
		waited = sp_syscall4(SYS_wait4, child, status, __WALL, NULL);
	while (waited == -EINTR);
	return waited < 0 ? waited : 0;
}

static enum verdict try_in_child(struct progress *progress, bool has_rights)
{
	int status;
	long child = make_child();

	if (child == 0)
		try_all(progress, has_rights);
	if (child < 0 || wait_for_child(child, &status) < 0)
		return CANNOT_BE_TRIED;
	if (status == 0)
		return PASSES;
	/* Any other end has another reason: the kernel was short of memory. */
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? KILLS
								 : CANNOT_BE_TRIED;
}

static enum verdict try_filter(void)
{
	struct progress *progress;
	enum verdict found;
	long memory;

	if (!may_be_filtered())
		return PASSES;
	memory = sp_syscall6(SYS_mmap, 0, SP_PAGE_BYTES, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory < 0)
		return CANNOT_BE_TRIED;
	progress = (struct progress *)memory;
	found = try_in_child(progress, true);
	if (found == KILLS && progress->is_about_rights) {
		sp_hooks_rights_forbid();
		/* What came after is still to be tried. */
		*progress = (struct progress){0};
		found = try_in_child(progress, false);
	}
	result = *progress;
	sp_syscall2(SYS_munmap, progress, SP_PAGE_BYTES);
	return found;
}

SP_COLD bool sp_seccomp_trial_passes(void)
{
	if (verdict == NOT_TRIED)
		verdict = try_filter();
	return verdict == PASSES;
}

/* A child's write: what it raises is not for the program, and only that may be allowed.
 */
static _Noreturn void tell_as_child(void)
{
	struct progress progress;
	char line[256];
	struct sp_text text;

	prepare(&progress, result.preparations);
	sp_text_init(&text, line, sizeof(line));
	sp_text_string(&text, "spanprof[");
	sp_text_decimal(&text, (uint64_t)sp_syscall0(SYS_getppid));
	sp_text_string(&text, "]: a seccomp filter in force kills for ");
	sp_text_string(&text, result.call);
	sp_text_string(&text, "(): the program runs unprofiled\n");
	sp_syscall3(SYS_write, STDERR_FILENO, line, text.used_bytes);
	end_child();
}

SP_COLD void sp_seccomp_trial_tell(void)
{
	int status;
	long child;

	/* Whoever refuses a child by an error rarely kills for what a line needs. */
	if (verdict == CANNOT_BE_TRIED) {
		sp_log_error("a seccomp filter is in force, and what it allows cannot be "
			     "tried: the program runs unprofiled");
		return;
	}
	if (result.is_log_allowed) {
		sp_log_error("a seccomp filter in force kills for %s(): the program runs "
			     "unprofiled",
			     result.call);
		return;
	}
	child = make_child();
	if (child == 0)
		tell_as_child();
	if (child > 0)
		wait_for_child(child, &status);
}
