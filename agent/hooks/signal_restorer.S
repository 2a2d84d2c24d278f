/*
 * Where our handler returns to. The very bytes of the C library's own restorer:
 * debuggers and unwinders know a signal frame by them, so no unwind data here.
 * The nop keeps "return address - 1" out of the function before.
 */
	.text
	.globl	sp_signal_restorer
	.hidden	sp_signal_restorer
	.type	sp_signal_restorer, @function
	.balign	16
	nop
sp_signal_restorer:
	movq	$15, %rax	/* rt_sigreturn */
	syscall
	.size	sp_signal_restorer, . - sp_signal_restorer
	.section .note.GNU-stack, "", @progbits
