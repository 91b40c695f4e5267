/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * instructions: executes each instruction of virtualization, and prints its
 * name and the signal that it got, "none" without one.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static sigjmp_buf back;

static void caught(int signal)
{
	siglongjmp(back, signal);
}

#define TRY(name, text)							\
	do {								\
		int signal = sigsetjmp(back, 1);			\
									\
		if (!signal)						\
			asm volatile(text : : "a"(0), "c"(0) : "memory");	\
		printf(name " %s\n", !signal ? "none" :			\
		       signal == SIGILL ? "SIGILL" : "SIGSEGV");	\
	} while (0)

int main(void)
{
	signal(SIGILL, caught);
	signal(SIGSEGV, caught);
	TRY("vmrun", "vmrun");
	TRY("vmload", "vmload");
	TRY("vmsave", "vmsave");
	TRY("stgi", "stgi");
	TRY("clgi", "clgi");
	TRY("invlpga", "invlpga");
	TRY("vmmcall", "vmmcall");
	TRY("vmcall", "vmcall");
	TRY("vmxon", ".byte 0xf3, 0x0f, 0xc7, 0x74, 0x24, 0xf8");
	return 0;
}
