/* The interposers that must not be a frame between caller and real function. */
#include "sp_tail_stub.h"

	SP_TAIL_STUB makecontext, sp_observe_makecontext
	SP_TAIL_STUB swapcontext, sp_observe_swapcontext
	SP_TAIL_STUB setcontext, sp_observe_setcontext
	SP_TAIL_STUB longjmp, sp_observe_longjmp
	SP_TAIL_STUB _longjmp, sp_observe_underscore_longjmp
	SP_TAIL_STUB siglongjmp, sp_observe_siglongjmp
	SP_TAIL_STUB __longjmp_chk, sp_observe_longjmp_chk

	.section .note.GNU-stack, "", @progbits
