/*
 * See own_rights.h. By the kernel's calls, which are for one thread each. What the
 * program was allowed to change to, our thread is, too, since it had the same rights
 * before. Context: hook, collector.
 */
#include "own_rights.h"

#include "sp_syscall.h"

#include <linux/capability.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Whoever is in more has none here: our thread then may do less. */
#define GROUPS_MAX 256

static struct {
	uid_t users[3]; /* real, effective, saved */
	gid_t group_ids[3];
	gid_t groups[GROUPS_MAX];
	long group_count;
	struct __user_cap_data_struct capabilities[_LINUX_CAPABILITY_U32S_3];
} noted;

static struct __user_cap_header_struct own_header(void)
{
	return (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3};
}

void sp_own_rights_note(void)
{
	struct __user_cap_header_struct header = own_header();

	sp_syscall3(SYS_getresuid, &noted.users[0], &noted.users[1], &noted.users[2]);
	sp_syscall3(SYS_getresgid, &noted.group_ids[0], &noted.group_ids[1],
		    &noted.group_ids[2]);
	noted.group_count = sp_syscall2(SYS_getgroups, GROUPS_MAX, noted.groups);
	sp_syscall2(SYS_capget, &header, noted.capabilities);
}

static long take_users(void)
{
	return sp_syscall3(SYS_setresuid, noted.users[0], noted.users[1], noted.users[2]);
}

/* That the list is refused is no error: only who may set it could need to. */
static long take_groups(void)
{
	sp_syscall2(SYS_setgroups, noted.group_count > 0 ? noted.group_count : 0,
		    noted.groups);
	return sp_syscall3(SYS_setresgid, noted.group_ids[0], noted.group_ids[1],
			   noted.group_ids[2]);
}

int sp_own_rights_take(void)
{
	struct __user_cap_header_struct header = own_header();
	long users, capabilities, groups;

	/* Before the rights to do so go, and after they have come back. */
	take_groups();
	/* A program may keep capabilities as it leaves the root user. */
	sp_syscall2(SYS_prctl, PR_SET_KEEPCAPS, 1);
	users = take_users();
	sp_syscall2(SYS_prctl, PR_SET_KEEPCAPS, 0);
	capabilities = sp_syscall2(SYS_capset, &header, noted.capabilities);
	groups = take_groups();
	if (users < 0)
		return (int)users;
	return (int)(capabilities < 0 ? capabilities : groups);
}
