/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A user program that makes the hypercall HELLO, and ends with status 0 when
 * that raised nothing. INSTRUCTION is vmmcall or vmcall.
 */
	.globl	_start
_start:
	movl	$0x4c550001, %eax
	movl	$1, %ebx
	INSTRUCTION
	movl	$60, %eax
	xorl	%edi, %edi
	syscall
	.section .note.GNU-stack, "", @progbits
