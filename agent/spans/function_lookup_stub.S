/*
 * dlsym() and dlvsym() of patched modules (function_lookups.h). The real functions look
 * at their return address, so that they are jumped to and not called.
 */
/* clang-format off */
	.macro LOOKUP name, finder
	.text
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.balign	16
\name:
	.cfi_startproc
	movq	(%rsp), %rcx
	pushq	%rdi
	.cfi_adjust_cfa_offset 8
	pushq	%rsi
	.cfi_adjust_cfa_offset 8
	pushq	%rdx
	.cfi_adjust_cfa_offset 8
	call	\finder
	movq	%rdx, %r11
	popq	%rdx
	.cfi_adjust_cfa_offset -8
	popq	%rsi
	.cfi_adjust_cfa_offset -8
	popq	%rdi
	.cfi_adjust_cfa_offset -8
	testq	%r11, %r11
	jz	1f
	jmp	*%r11
1:	ret
	.cfi_endproc
	.size	\name, . - \name
	.endm

	LOOKUP sp_function_dlsym, sp_function_find_dlsym
	LOOKUP sp_function_dlvsym, sp_function_find_dlvsym

	.section .note.GNU-stack, "", @progbits
