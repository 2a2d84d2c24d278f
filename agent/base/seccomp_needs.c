/*
 * What hooks, handler and our thread call, the latter also to be born again in a fork
 * child. See sp_seccomp_needs.h.
 */
#include "sp_seccomp_needs.h"

#include "sp_compiler.h"
#include "sp_syscall.h"

#define NEED(call)                                                                       \
	{                                                                                \
#call, SYS_##call                                                        \
	}

const struct sp_seccomp_need sp_seccomp_needs[] = {
	NEED(fstat),
	NEED(getpid),
	NEED(poll),
	NEED(pselect6),
	NEED(rt_sigpending),
	NEED(rt_sigprocmask),
	NEED(rt_sigtimedwait),
	NEED(write),
	/* End of SP_SECCOMP_NEEDS_OF_LOG. */
	NEED(arch_prctl),
	NEED(chdir),
	NEED(clock_gettime),
	NEED(clone3),
	NEED(close),
	NEED(close_range),
	NEED(faccessat2),
	NEED(fallocate),
	NEED(fchmod),
	NEED(fcntl),
	NEED(ftruncate),
	NEED(futex),
	NEED(getdents64),
	NEED(geteuid),
	NEED(getrandom),
	NEED(getrusage),
	NEED(gettid),
	NEED(linkat),
	NEED(madvise),
	NEED(membarrier),
	NEED(mkdirat),
	NEED(mmap),
	NEED(mprotect),
	NEED(mremap),
	NEED(munmap),
	NEED(newfstatat),
	NEED(open),
	NEED(openat),
	NEED(prctl),
	NEED(pread64),
	NEED(prlimit64),
	NEED(process_vm_readv),
	NEED(read),
	NEED(readlinkat),
	NEED(renameat2),
	NEED(rseq),
	NEED(rt_sigaction),
	NEED(sched_getaffinity),
	NEED(sched_yield),
	NEED(sendfile),
	NEED(set_robust_list),
	NEED(sigaltstack),
	NEED(tgkill),
	NEED(timer_create),
	NEED(timer_delete),
	NEED(timer_settime),
	NEED(unlinkat),
	NEED(unshare),
	/* SP_SECCOMP_NEEDS_WITHOUT_RETURN. */
	NEED(exit),
	NEED(rt_sigreturn),
};

const size_t sp_seccomp_need_count = SP_ARRAY_COUNT(sp_seccomp_needs);

const struct sp_seccomp_need sp_seccomp_rights[] = {
	NEED(capget),	 NEED(capset),	  NEED(getgroups), NEED(getresgid),
	NEED(getresuid), NEED(setgroups), NEED(setresgid), NEED(setresuid),
};

const size_t sp_seccomp_rights_count = SP_ARRAY_COUNT(sp_seccomp_rights);
