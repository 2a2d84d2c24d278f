/* See libc_calls.h: hidden functions that jump on, as those of a procedure linkage table
 * do; a jump to the same costs the same. Where to, libc_calls.c says. */
/* clang-format off */
	.macro SP_LIBC_CALL name
	.text
	.globl	\name
	.hidden	\name
	.hidden	sp_libc_\name
	.type	\name, @function
	.balign	16
\name:
	.cfi_startproc
	jmp	*sp_libc_\name(%rip)
	.cfi_endproc
	.size	\name, . - \name
	.endm

	SP_LIBC_CALL bcmp
	SP_LIBC_CALL memchr
	SP_LIBC_CALL memcmp
	SP_LIBC_CALL memcpy
	SP_LIBC_CALL memmove
	SP_LIBC_CALL memset
	SP_LIBC_CALL strchr
	SP_LIBC_CALL strcmp
	SP_LIBC_CALL strcpy
	SP_LIBC_CALL strcspn
	SP_LIBC_CALL strlen
	SP_LIBC_CALL strncmp
	SP_LIBC_CALL strncpy
	SP_LIBC_CALL strnlen
	SP_LIBC_CALL strrchr
	SP_LIBC_CALL strspn
	SP_LIBC_CALL strstr

	.section .note.GNU-stack, "", @progbits
