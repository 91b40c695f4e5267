// SPDX-License-Identifier: MIT OR Apache-2.0
// Processes and their scheduling.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixes.h"

#define MILLISECOND 1000000ULL

// What sched_setattr takes; its header and the C library's define the same other things.
struct sched_attributes {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;
	uint64_t deadline;
	uint64_t period;
};

#define DEADLINE_CLASS 6

// PIDFD_GET_NET_NAMESPACE, which the headers of Debian 12 do not have yet.
#define GET_NET_NAMESPACE _IO(0xff, 4)

static void sleep_for(uint64_t nanoseconds)
{
	struct timespec time = { (time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000) };

	nanosleep(&time, NULL);
}

// Spins for so long of the thread's own processor time.
static void spin_for(uint64_t nanoseconds)
{
	struct timespec start, now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	} while ((uint64_t)(now.tv_sec - start.tv_sec) * 1000000000 +
		 (uint64_t)(now.tv_nsec - start.tv_nsec) < nanoseconds);
}

// Puts the calling thread into a real time class. Returns 0, or -1 with errno.
static long become_deadline(uint64_t runtime, uint64_t deadline)
{
	struct sched_attributes attr = {
		.size = sizeof(attr),
		.policy = DEADLINE_CLASS,
		.runtime = runtime,
		.deadline = deadline,
		.period = deadline,
	};

	return syscall(SYS_sched_setattr, 0, &attr, 0);
}

static long become_fifo(int priority)
{
	struct sched_attributes attr = {
		.size = sizeof(attr),
		.policy = SCHED_FIFO,
		.priority = (uint32_t)priority,
	};

	return syscall(SYS_sched_setattr, 0, &attr, 0);
}

// Asks for a file of a process that has ended and is not reaped yet.
int getfd_of_zombie(void)
{
	siginfo_t info;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	if (child < 0)
		return fail("fork");
	if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT))
		return fail("waitid");

	int handle = (int)syscall(SYS_pidfd_open, child, 0);

	if (handle < 0)
		return fail("pidfd_open");

	int number = syscall(SYS_pidfd_getfd, handle, 0, 0) < 0 ? errno : 0;

	waitpid(child, NULL, 0);
	return print_error(number);
}

// Asks, as an ordinary user, for a namespace of root's process that has ended and is not reaped yet.
int namespace_of_zombie(void)
{
	siginfo_t info;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	if (child < 0)
		return fail("fork");
	if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT))
		return fail("waitid");
	if (setgid(1000) || setuid(1000))
		return fail("setuid");

	int handle = (int)syscall(SYS_pidfd_open, child, 0);

	if (handle < 0)
		return fail("pidfd_open");

	int number = ioctl(handle, GET_NET_NAMESPACE, 0) < 0 ? errno : 0;

	waitpid(child, NULL, 0);
	return print_error(number);
}

// What the two threads of `deboosted_task` share with the process that watches them.
struct boost {
	uint32_t futex;
	_Atomic int step;
	_Atomic int number;
};

enum { OWNER_HOLDS = 1, WAITER_WAITS, OWNER_DONE, GAVE_UP };

static void give_up(struct boost *boost)
{
	boost->number = errno;
	boost->step = GAVE_UP;
}

static void *waiter(void *argument)
{
	struct boost *boost = argument;

	while (!boost->step)
		sleep_for(5 * MILLISECOND);
	// A later deadline than the owner's: the owner has no need of a boost as long as it is of the
	// deadline class itself.
	if (become_deadline(20 * MILLISECOND, 1000 * MILLISECOND)) {
		give_up(boost);
		return NULL;
	}
	boost->step = WAITER_WAITS;
	syscall(SYS_futex, &boost->futex, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	return NULL;
}

static void own(struct boost *boost)
{
	pthread_t thread;

	// A task of the deadline class starts no threads.
	if (pthread_create(&thread, NULL, waiter, boost) ||
	    become_deadline(50 * MILLISECOND, 500 * MILLISECOND) ||
	    syscall(SYS_futex, &boost->futex, FUTEX_LOCK_PI, 0, NULL, NULL, 0)) {
		give_up(boost);
		return;
	}
	boost->step = OWNER_HOLDS;
	while (boost->step == OWNER_HOLDS)
		sleep_for(5 * MILLISECOND);
	// The waiter has nothing left to do but to wait.
	sleep_for(100 * MILLISECOND);
	if (boost->step == GAVE_UP || become_fifo(10)) {
		give_up(boost);
		return;
	}
	sleep_for(5 * MILLISECOND);
	boost->step = OWNER_DONE;
	syscall(SYS_futex, &boost->futex, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
	pthread_join(thread, NULL);
}

// A thread of the deadline class owns a lock that another one of that class waits for, and leaves
// the class. Prints whether it ever runs again.
int deboosted_task(void)
{
	struct boost *boost = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (boost == MAP_FAILED)
		return fail("mmap");

	pid_t child = fork();

	if (child < 0)
		return fail("fork");
	if (child == 0) {
		// It may stay for ever and must not keep our output open.
		for (int file = 0; file < 3; file++)
			close(file);
		own(boost);
		_exit(0);
	}
	for (int i = 0; i < 100 && boost->step < OWNER_DONE; i++)
		sleep_for(50 * MILLISECOND);
	if (boost->step == GAVE_UP || boost->step < WAITER_WAITS) {
		errno = boost->number;
		return fail("deadline scheduling");
	}
	puts(boost->step == OWNER_DONE ? "runs" : "lost");
	kill(child, SIGKILL);
	return 0;
}

static void *pushed(void *argument)
{
	int priority = (int)(intptr_t)argument;

	if (become_fifo(priority))
		return "";
	for (int i = 0; i < 40; i++) {
		spin_for(2 * MILLISECOND);
		sleep_for(1 * MILLISECOND);
	}
	return NULL;
}

// More real time threads than processors, which wake and sleep: the scheduler pushes them around.
int push_tasks(void)
{
	pthread_t threads[8];
	int status = 0;

	for (size_t i = 0; i < 8; i++) {
		if (pthread_create(&threads[i], NULL, pushed, (void *)(intptr_t)(10 + i)))
			return fail("pthread_create");
	}
	for (size_t i = 0; i < 8; i++) {
		void *failed = NULL;

		pthread_join(threads[i], &failed);
		status |= failed != NULL;
	}
	puts("done");
	return status;
}

// A task of the deadline class that uses up its budget and sleeps, many times.
int deadline_task(void)
{
	if (become_deadline(2 * MILLISECOND, 10 * MILLISECOND))
		return fail("sched_setattr");
	for (int i = 0; i < 20; i++) {
		spin_for(3 * MILLISECOND);
		sleep_for(1 * MILLISECOND);
	}
	puts("done");
	return 0;
}

// A system call that no kernel has.
int new_syscall(void)
{
	long result = syscall(1999);

	if (result < 0)
		return print_error(errno);
	puts(result == getpid() ? "pid" : "other");
	return 0;
}

// How many voluntary switches the kernel counts for a sleep of a task whose name begins with "3x".
int switches_counted(void)
{
	struct rusage before, after;

	if (prctl(PR_SET_NAME, "3x"))
		return fail("prctl");
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 100; i++)
		sleep_for(MILLISECOND);
	getrusage(RUSAGE_SELF, &after);
	printf("%ld\n", (after.ru_nvcsw - before.ru_nvcsw + 50) / 100);
	return 0;
}

static atomic_int woken;

static void *sleeper(void *argument)
{
	int *pipe = argument;
	char byte;

	if (read(pipe[0], &byte, 1) == 1)
		woken++;
	return NULL;
}

// 100 threads sleep until standard input ends, then all are woken. Prints how many woke up.
int sleepers(void)
{
	enum { COUNT = 100 };
	pthread_t threads[COUNT];
	int ends[2];
	char byte, bytes[COUNT] = { 0 };

	if (pipe(ends))
		return fail("pipe");
	for (size_t i = 0; i < COUNT; i++) {
		if (pthread_create(&threads[i], NULL, sleeper, ends))
			return fail("pthread_create");
	}
	sleep_for(500 * MILLISECOND);
	puts("asleep");
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	if (write(ends[1], bytes, COUNT) != COUNT)
		return fail("write");
	for (size_t i = 0; i < COUNT; i++)
		pthread_join(threads[i], NULL);
	printf("woken %d\n", woken);
	return 0;
}
