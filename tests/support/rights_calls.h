/*
 * Those by which a second thread follows one that gives up rights.
 */
#ifndef RIGHTS_CALLS_H
#define RIGHTS_CALLS_H

#include <sys/syscall.h>

static const unsigned int rights_calls[] = {
	SYS_capget,    SYS_capset,    SYS_getgroups, SYS_getresgid,
	SYS_getresuid, SYS_setgroups, SYS_setresgid, SYS_setresuid,
};

#define RIGHTS_CALL_COUNT (sizeof(rights_calls) / sizeof(rights_calls[0]))

#endif
