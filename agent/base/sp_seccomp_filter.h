/*
 * What a seccomp filter would say to a system call, found by running it here: a
 * guest has to know before the filter is in force, since a wrong call ends the
 * program.
 */
#ifndef SP_SECCOMP_FILTER_H
#define SP_SECCOMP_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Context: signal. The filter's verdict (SECCOMP_RET_*) on that x86-64 system call
 * with arguments of 0. A filter that the kernel would refuse is answered with
 * SECCOMP_RET_KILL_PROCESS.
 */
uint32_t sp_seccomp_filter_run(const struct sock_filter *filter, uint32_t length,
			       uint32_t system_call);

/* Context: signal. Does that verdict let the caller live? The call may fail. */
bool sp_seccomp_is_survivable(uint32_t verdict);

#endif
