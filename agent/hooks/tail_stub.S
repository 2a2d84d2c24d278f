/* The interposers that must not be a frame between caller and real function. */
#include "sp_tail_stub.h"

	SP_TAIL_STUB makecontext, sp_observe_makecontext
	SP_TAIL_STUB swapcontext, sp_observe_swapcontext
	SP_TAIL_STUB setcontext, sp_observe_setcontext

	.section .note.GNU-stack, "", @progbits
