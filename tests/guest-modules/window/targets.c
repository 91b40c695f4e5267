// SPDX-License-Identifier: GPL-2.0
/*
 * The functions. Each has an ftrace slot, then five or more bytes of small
 * instructions, and gives its number plus WINDOW_OLD.
 */
#include <linux/kernel.h>
#include <linux/linkage.h>

#include <asm/ibt.h>
#include <asm/processor-flags.h>
#include <asm/segment.h>

#include "spots.h"

#define TARGET_TEXT(name, instructions)					\
	asm(".pushsection .text\n"					\
	    ".balign 16\n"						\
	    ".globl window_target_" name "\n"				\
	    ".type window_target_" name ", @function\n"			\
	    "window_target_" name ":\n"					\
	    ASM_ENDBR							\
	    ".Lslot_" name ": call __fentry__\n"			\
	    instructions						\
	    ASM_RET							\
	    ".size window_target_" name ", . - window_target_" name "\n" \
	    ".popsection\n"						\
	    ".pushsection __mcount_loc, \"a\", @progbits\n"		\
	    ".balign 8\n"						\
	    ".quad .Lslot_" name "\n"					\
	    ".popsection\n")

#define TARGET(name, instructions)					\
	extern unsigned long window_target_##name(unsigned long number); \
	TARGET_TEXT(#name, instructions)

/*
 * An interrupt that is pending when STI is executed arrives behind the
 * instruction that follows: at the second `nop`.
 */
#define OPEN_INTERRUPTS							\
	"sti\n nop\n nop\n nop\n nop\n"					\
	"lea 1(%rdi), %rax\n"

TARGET(interrupt, OPEN_INTERRUPTS);
TARGET(preempted, OPEN_INTERRUPTS);
TARGET(idle, OPEN_INTERRUPTS);
TARGET(softirq, OPEN_INTERRUPTS);

/* Adds the byte that it reads, which must be 1. */
TARGET(fault,
       "nop\n movb (%rsi), %al\n nop\n nop\n"
       "movzbl %al, %eax\n"
       "add %rdi, %rax\n");

TARGET(opcode,
       "nop\n ud2\n"
       /* The handler goes on behind it: for the check of the object file. */
       ".Lbehind: .pushsection .discard.reachable\n"
       ".long .Lbehind - .\n"
       ".popsection\n"
       "nop\n nop\n"
       "lea 1(%rdi), %rax\n");

/* A breakpoint register points to the third one. */
TARGET(debug,
       "nop\n nop\n nop\n nop\n nop\n"
       "lea 1(%rdi), %rax\n");

/* Reads bytes until RCX is 0, which can take as long as an NMI needs to come. */
TARGET(nmi,
       "nop\n rep lodsb\n nop\n nop\n"
       "lea 1(%rdi), %rax\n");

/* ENDBR and slot of each function. */
#define ENTRY_SIZE	(5 + (IS_ENABLED(CONFIG_X86_KERNEL_IBT) ? 4 : 0))

unsigned long window_site(enum window_spot spot)
{
	static unsigned long (*const targets[SPOT_COUNT])(unsigned long) = {
		[SPOT_INTERRUPT] = window_target_interrupt,
		[SPOT_PREEMPTED] = window_target_preempted,
		[SPOT_IDLE] = window_target_idle,
		[SPOT_SOFTIRQ] = window_target_softirq,
		[SPOT_FAULT] = window_target_fault,
		[SPOT_OPCODE] = window_target_opcode,
		[SPOT_DEBUG] = window_target_debug,
		[SPOT_NMI] = window_target_nmi,
	};

	return (unsigned long)targets[spot] + ENTRY_SIZE;
}

const char *const window_names[SPOT_COUNT] = {
	[SPOT_INTERRUPT] = "interrupt",
	[SPOT_PREEMPTED] = "preempted",
	[SPOT_IDLE] = "idle",
	[SPOT_SOFTIRQ] = "softirq",
	[SPOT_FAULT] = "fault",
	[SPOT_OPCODE] = "opcode",
	[SPOT_DEBUG] = "debug",
	[SPOT_NMI] = "nmi",
};

#define CALL(name)							\
	asm volatile("movq %%rsp, %[stack]\n"				\
		     "call window_target_" name "\n"			\
		     : [stack] "=m"(call->stack), "=a"(result),		\
		       "+D"(number), "+S"(source), "+c"(count),		\
		       ASM_CALL_CONSTRAINT				\
		     :							\
		     : "memory", "cc", "rdx", "r8", "r9", "r10", "r11")

static __always_inline void allow_user_access(void)
{
	asm volatile("pushfq\n orl %0, (%%rsp)\n popfq\n"
		     : : "i"(X86_EFLAGS_AC) : "memory", "cc");
}

static __always_inline void forbid_user_access(void)
{
	asm volatile("pushfq\n andl %0, (%%rsp)\n popfq\n"
		     : : "i"(~X86_EFLAGS_AC) : "memory", "cc");
}

noinline unsigned long window_call(enum window_spot spot, unsigned long number,
				   struct window_call *call)
{
	unsigned long result = 0, source = call->source, count = call->count;

	switch (spot) {
	case SPOT_INTERRUPT:
		CALL("interrupt");
		break;
	case SPOT_PREEMPTED:
		CALL("preempted");
		break;
	case SPOT_IDLE:
		CALL("idle");
		break;
	case SPOT_SOFTIRQ:
		CALL("softirq");
		break;
	case SPOT_FAULT:
		if (call->user)
			allow_user_access();
		CALL("fault");
		forbid_user_access();
		break;
	case SPOT_OPCODE:
		CALL("opcode");
		break;
	case SPOT_DEBUG:
		CALL("debug");
		break;
	case SPOT_NMI:
		CALL("nmi");
		break;
	default:
		break;
	}
	return result;
}

/*
 * The functions push nothing, so the stack pointer was that of the call less
 * its return address. From there, aligned down to 16 bytes, the processor
 * pushes SS, RSP, RFLAGS, CS and RIP.
 */
bool window_is_interrupted_inside(enum window_spot spot,
				  const struct window_call *call,
				  unsigned long *rip)
{
	unsigned long pointer = READ_ONCE(call->stack) - sizeof(long);
	const unsigned long *frame;

	if (!READ_ONCE(call->stack))
		return false;
	frame = (const unsigned long *)(pointer & ~15UL) - 5;
	*rip = READ_ONCE_NOCHECK(frame[0]);
	return READ_ONCE_NOCHECK(frame[1]) == __KERNEL_CS &&
	       READ_ONCE_NOCHECK(frame[3]) == pointer &&
	       window_is_inside(spot, *rip);
}
