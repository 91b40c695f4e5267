/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Zombies of an unprivileged user, and who may look at them:
 *
 *	zombie leave DUMPABLE	has a child exit, prints its number, and keeps it
 *				as a zombie until it is killed itself
 *	zombie look NUMBER	tries to compare itself with it, which needs the right
 *				to read what a tracer may; says whether it could
 */
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOMEBODY 1000

static int leave(int dumpable)
{
	siginfo_t info;
	pid_t child = fork();

	if (child < 0)
		return 1;
	if (!child) {
		prctl(PR_SET_DUMPABLE, dumpable);
		_exit(0);
	}
	if (waitid(P_PID, child, &info, WEXITED | WNOWAIT))
		return 1;
	printf("%d\n", child);
	fflush(stdout);
	pause();
	return 0;
}

static int look(const char *number)
{
	long order = syscall(SYS_kcmp, getpid(), atoi(number), KCMP_FS, 0, 0);

	puts(order < 0 ? "denied" : "readable");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3 || setgid(SOMEBODY) || setuid(SOMEBODY))
		return 2;
	return strcmp(argv[1], "look") ? leave(atoi(argv[2])) : look(argv[2]);
}
