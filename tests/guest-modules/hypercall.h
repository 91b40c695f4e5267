/* SPDX-License-Identifier: GPL-2.0 */
/* Hypercalls of test modules. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include <linux/types.h>

#include <asm/asm.h>
#include <asm/msr.h>

#include <lucos/interface.h>

/* Arguments, and results afterwards. */
struct registers {
	u64 rax, rbx, rcx, rdx, rsi;
};

/* RAX after an instruction that raised an exception. */
#define REFUSED_INSTRUCTION 256

#define HYPERCALL(instruction, registers)				\
	asm volatile("1: " instruction "\n"				\
		     "jmp 3f\n"						\
		     "2: movq %[refused], %%rax\n"			\
		     "3:\n"						\
		     _ASM_EXTABLE(1b, 2b)				\
		     : "+a"((registers)->rax), "+b"((registers)->rbx),	\
		       "+c"((registers)->rcx), "+d"((registers)->rdx)	\
		     : "S"((registers)->rsi),				\
		       [refused] "i"(REFUSED_INSTRUCTION)		\
		     : "memory", "cc")

/* Gives RAX. */
static inline s64 make_hypercall(struct registers *registers)
{
	if (native_read_msr(LUCOS_REGISTER) >> LUCOS_FEATURES_SHIFT &
	    LUCOS_FEATURE_VMMCALL)
		HYPERCALL("vmmcall", registers);
	else
		HYPERCALL("vmcall", registers);
	return registers->rax;
}

/* The same by arguments. */
static inline s64 hypercall(enum lucos_call call, u64 rbx, u64 rcx, u64 rdx,
			    u64 rsi)
{
	struct registers registers = {
		.rax = LUCOS_CALL_BASE | call,
		.rbx = rbx,
		.rcx = rcx,
		.rdx = rdx,
		.rsi = rsi,
	};

	return make_hypercall(&registers);
}

#endif
