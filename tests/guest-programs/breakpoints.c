/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * breakpoints ADDRESS...: sets the processor's breakpoints to these addresses,
 * four at a time, for a child that executes instructions that leave the guest.
 * Needs no privilege. Prints how many the child executed, and how often it was
 * stopped by a breakpoint.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define REGISTERS 4
#define ROUNDS 3

static void leave_the_guest(void)
{
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	for (;;)
		asm volatile("vmmcall" : : : "rax", "rbx", "rcx", "rdx");
}

static int set(pid_t child, int number, unsigned long value)
{
	return ptrace(PTRACE_POKEUSER, child,
		      offsetof(struct user, u_debugreg[number]), value);
}

int main(int count, char **arguments)
{
	unsigned long executed = 0, hits = 0;
	int first, i, round, status;
	pid_t child = fork();

	if (!child)
		leave_the_guest();
	waitpid(child, &status, 0);
	for (first = 1; first < count; first += REGISTERS) {
		unsigned long enabled = 0;

		set(child, 7, 0);
		for (i = 0; i < REGISTERS && first + i < count; i++) {
			if (set(child, i, strtoul(arguments[first + i], NULL, 16)))
				continue;
			enabled |= 1ul << (2 * i);
		}
		if (set(child, 7, enabled))
			return 1;
		for (round = 0; round < ROUNDS; round++) {
			struct user_regs_struct registers;

			ptrace(PTRACE_CONT, child, 0, 0);
			waitpid(child, &status, 0);
			if (!WIFSTOPPED(status))
				return 2;
			if (WSTOPSIG(status) == SIGTRAP) {
				hits++;
				continue;
			}
			if (WSTOPSIG(status) != SIGILL)
				return 3;
			executed++;
			/* Behind the instruction. */
			ptrace(PTRACE_GETREGS, child, 0, &registers);
			registers.rip += 3;
			ptrace(PTRACE_SETREGS, child, 0, &registers);
		}
	}
	kill(child, SIGKILL);
	printf("executed %lu\nhits %lu\n", executed, hits);
	return 0;
}
