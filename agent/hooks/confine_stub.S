/* syscall(), whose arguments are whatever its first one says (hooks_confine.c). */
#include "sp_tail_stub.h"

	SP_TAIL_STUB syscall, sp_observe_syscall

	.section .note.GNU-stack, "", @progbits
