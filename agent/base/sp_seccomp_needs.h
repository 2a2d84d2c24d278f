/*
 * The system calls that a program must be allowed for the agent to live in it: whoever
 * is killed for one of them is so by us.
 */
#ifndef SP_SECCOMP_NEEDS_H
#define SP_SECCOMP_NEEDS_H

#include <stddef.h>
#include <stdint.h>

struct sp_seccomp_need {
	const char *name;
	uint16_t number;
};

/* So many at the beginning are all that sp_log.h calls. */
#define SP_SECCOMP_NEEDS_OF_LOG 8
/* So many at the end do not come back to whoever calls them. */
#define SP_SECCOMP_NEEDS_WITHOUT_RETURN 2

/* Context: signal. All others refuse six arguments of -1, or do nothing with them. */
extern const struct sp_seccomp_need sp_seccomp_needs[];
extern const size_t sp_seccomp_need_count;

/*
 * Context: signal. By these our thread gives up rights with the program (own_rights.h);
 * who may not make them is profiled all the same. All refuse such arguments, or do
 * nothing with them.
 */
extern const struct sp_seccomp_need sp_seccomp_rights[];
extern const size_t sp_seccomp_rights_count;

#endif
