/*
 * What the private jemalloc calls to find its state of the calling thread
 * (thread_calls.c): a function for each register, in the order of their numbers, first
 * those that load the distance from the thread pointer, then those that add it. They change
 * no other register, and the former no flag.
 */
/* clang-format off */
	.macro SP_BEGIN
	.balign	32
	.cfi_startproc
	.endm

	.macro SP_LOAD reg
	SP_BEGIN
	movq	sp_je_thread_distance@gottpoff(%rip), %\reg
	movq	%fs:(%\reg), %\reg
	ret
	.cfi_endproc
	.endm

	.macro SP_ADD reg, other
	SP_BEGIN
	pushq	%\other
	.cfi_adjust_cfa_offset 8
	movq	sp_je_thread_distance@gottpoff(%rip), %\other
	addq	%fs:(%\other), %\reg
	popq	%\other
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.endm

	/* The stack pointer is nobody's. */
	.macro SP_NONE
	SP_BEGIN
	ud2
	.cfi_endproc
	.endm

	.text
	.globl	je_tsd_tls
	.hidden	je_tsd_tls
	.hidden	sp_je_thread_distance
	.type	je_tsd_tls, @function
	.balign	32
je_tsd_tls:
	SP_LOAD	rax
	SP_LOAD	rcx
	SP_LOAD	rdx
	SP_LOAD	rbx
	SP_NONE
	SP_LOAD	rbp
	SP_LOAD	rsi
	SP_LOAD	rdi
	SP_LOAD	r8
	SP_LOAD	r9
	SP_LOAD	r10
	SP_LOAD	r11
	SP_LOAD	r12
	SP_LOAD	r13
	SP_LOAD	r14
	SP_LOAD	r15
	SP_ADD	rax, rcx
	SP_ADD	rcx, rax
	SP_ADD	rdx, rax
	SP_ADD	rbx, rax
	SP_NONE
	SP_ADD	rbp, rax
	SP_ADD	rsi, rax
	SP_ADD	rdi, rax
	SP_ADD	r8, rax
	SP_ADD	r9, rax
	SP_ADD	r10, rax
	SP_ADD	r11, rax
	SP_ADD	r12, rax
	SP_ADD	r13, rax
	SP_ADD	r14, rax
	SP_ADD	r15, rax
	.balign	32
	.size	je_tsd_tls, . - je_tsd_tls

	.section .note.GNU-stack, "", @progbits
