/*
 * The calls of library functions that are spans (span_functions.h). An entry says in
 * r11, which is nobody's, what it stands for; the rest is common. Everything that may
 * be an argument is kept: integer registers, xmm0-7, al, the static chain and a copy
 * of what the caller put on its stack; and of results rax, rdx, xmm0, xmm1 and the x87
 * registers, which nothing of ours touches.
 */
#include "span_functions.h"

/* clang-format off */
/* The frame, from its lower end, which is 16-aligned. */
#define CALL      SP_FUNCTION_STACK_BYTES /* struct sp_function_call */
#define VECTORS   (CALL + 80)
#define FRAME     (VECTORS + 128)

	.text
	.globl	sp_function_entries
	.hidden	sp_function_entries
	.type	sp_function_entries, @function
	.balign	SP_FUNCTION_ENTRY_BYTES
sp_function_entries:
	.cfi_startproc
	.set	entry, 0
	.rept	SP_FUNCTIONS_MAX
	.balign	SP_FUNCTION_ENTRY_BYTES
	movl	$entry, %r11d
	jmp	call_function
	.set	entry, entry + 1
	.endr
	.cfi_endproc
	.size	sp_function_entries, . - sp_function_entries

	.type	call_function, @function
	.balign	16
call_function:
	.cfi_startproc
	.cfi_personality 0x1b, sp_function_personality
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	subq	$FRAME, %rsp
	andq	$-16, %rsp
	movq	%rdi, CALL + 0(%rsp)
	movq	%rsi, CALL + 8(%rsp)
	movq	%rdx, CALL + 16(%rsp)
	movq	%rcx, CALL + 24(%rsp)
	movq	%r8, CALL + 32(%rsp)
	movq	%r9, CALL + 40(%rsp)
	movq	%rax, CALL + 48(%rsp)
	movq	%r10, CALL + 64(%rsp)
	movaps	%xmm0, VECTORS + 0(%rsp)
	movaps	%xmm1, VECTORS + 16(%rsp)
	movaps	%xmm2, VECTORS + 32(%rsp)
	movaps	%xmm3, VECTORS + 48(%rsp)
	movaps	%xmm4, VECTORS + 64(%rsp)
	movaps	%xmm5, VECTORS + 80(%rsp)
	movaps	%xmm6, VECTORS + 96(%rsp)
	movaps	%xmm7, VECTORS + 112(%rsp)
	movl	%r11d, %edi
	leaq	CALL(%rsp), %rsi
	leaq	16(%rbp), %rdx
	movq	%rsp, %rcx
	call	sp_function_enter
	movq	%rax, %r11
	cmpq	$SP_FUNCTION_STACK_BYTES, %rdx
	jne	.Lpart
	.set	offset, 0
	.rept	SP_FUNCTION_STACK_BYTES / 64
	movups	16 + offset(%rbp), %xmm0
	movups	32 + offset(%rbp), %xmm1
	movups	48 + offset(%rbp), %xmm2
	movups	64 + offset(%rbp), %xmm3
	movaps	%xmm0, 0 + offset(%rsp)
	movaps	%xmm1, 16 + offset(%rsp)
	movaps	%xmm2, 32 + offset(%rsp)
	movaps	%xmm3, 48 + offset(%rsp)
	.set	offset, offset + 64
	.endr
.Lcopied:
	movq	CALL + 0(%rsp), %rdi
	movq	CALL + 8(%rsp), %rsi
	movq	CALL + 16(%rsp), %rdx
	movq	CALL + 24(%rsp), %rcx
	movq	CALL + 32(%rsp), %r8
	movq	CALL + 40(%rsp), %r9
	movq	CALL + 48(%rsp), %rax
	movq	CALL + 64(%rsp), %r10
	movaps	VECTORS + 0(%rsp), %xmm0
	movaps	VECTORS + 16(%rsp), %xmm1
	movaps	VECTORS + 32(%rsp), %xmm2
	movaps	VECTORS + 48(%rsp), %xmm3
	movaps	VECTORS + 64(%rsp), %xmm4
	movaps	VECTORS + 80(%rsp), %xmm5
	movaps	VECTORS + 96(%rsp), %xmm6
	movaps	VECTORS + 112(%rsp), %xmm7
	call	*%r11
	movq	CALL + 56(%rsp), %rdi
	testq	%rdi, %rdi
	jz	.Lleave
	movq	%rsp, %rsi
	movq	%rax, CALL + 0(%rsp)
	movq	%rdx, CALL + 8(%rsp)
	movaps	%xmm0, VECTORS + 0(%rsp)
	movaps	%xmm1, VECTORS + 16(%rsp)
	call	sp_function_exit
	movq	CALL + 0(%rsp), %rax
	movq	CALL + 8(%rsp), %rdx
	movaps	VECTORS + 0(%rsp), %xmm0
	movaps	VECTORS + 16(%rsp), %xmm1
.Lleave:
	.cfi_remember_state
	leave
	.cfi_def_cfa %rsp, 8
	.cfi_restore %rbp
	ret
	.cfi_restore_state
.Lpart:
	movq	%rdx, %rcx
	leaq	16(%rbp), %rsi
	movq	%rsp, %rdi
	rep movsb
	jmp	.Lcopied
	.cfi_endproc
	.size	call_function, . - call_function

	.section .note.GNU-stack, "", @progbits
