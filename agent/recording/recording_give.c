/*
 * Another owner for the recording of a process that gives up its user: in a sticky folder
 * (/dev/shm) a file goes with its owner only. By a descriptor, since where the folder is
 * another's the path may lead elsewhere by now. Context: hook.
 */
#include "sp_recording_writer.h"

#include "layout.h"
#include "sp_held_signals.h"
#include "sp_syscall.h"

#include <stdint.h>

int sp_recording_give(const struct sp_recording *recording, uid_t user)
{
	uint64_t mask;
	int fd, err;

	if (!recording->header || !recording->is_file)
		return 0;
	/* A handler of the program's that jumped away would leave our descriptor open. */
	mask = sp_signals_hold();
	fd = err = sp_recording_open_again(recording);
	if (fd >= 0) {
		err = (int)sp_syscall3(SYS_fchown, fd, user, -1);
		sp_syscall1(SYS_close, fd);
	}
	sp_signals_release(mask);
	return err;
}
