/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What common work costs, in ticks of the time-stamp counter, which counts
 * instructions in the deterministic mode. One line for each figure: its name
 * and the ticks of one operation.
 *
 * As the first program of the kernel it writes the ticks since power-on to
 * /figures.boot and runs /init.
 *
 *	figures workload	the operations that ratios are made of
 *	figures cpuid		one CPUID
 *	figures call		one system call that no kernel has: the ticks only
 *	figures times OPERATION COUNT	one of them, so often
 *	figures load SECONDS	does everything that makes a kernel busy
 *	figures threads COUNT	sleeps in so many threads, until it is killed
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE 4096
#define PAGES 512
#define TICKS_PER_SECOND 1000000000ull

/*
 * A number in the kernel's table (tuxcall) without a system call. One beyond
 * the table would not do: what it runs is inlined.
 */
#define NO_SYSTEM_CALL 184

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static void report(const char *name, uint64_t ticks)
{
	printf("%s %llu\n", name, (unsigned long long)ticks);
}

static void wait_for(pid_t child)
{
	int status;

	must(child > 0, "fork");
	must(waitpid(child, &status, 0) == child && status == 0, "child");
}

static void get_pid(void)
{
	syscall(SYS_getpid);
}

static void touch_pages(void)
{
	size_t size = PAGES * PAGE;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED, "mmap");
	must(!madvise(memory, size, MADV_NOHUGEPAGE), "madvise");
	for (size_t at = 0; at < size; at += PAGE)
		((volatile char *)memory)[at] = 1;
	must(!munmap(memory, size), "munmap");
}

static void map_and_unmap(void)
{
	size_t size = 16 * PAGE;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	must(memory != MAP_FAILED, "mmap");
	must(!munmap(memory, size), "munmap");
}

static void fork_only(void)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	wait_for(child);
}

static void fork_and_execute(void)
{
	pid_t child = fork();

	if (!child) {
		execl("/proc/self/exe", "figures", "nothing", NULL);
		_exit(1);
	}
	wait_for(child);
}

static void sleep_millisecond(void)
{
	struct timespec time = { .tv_nsec = 1000000 };

	nanosleep(&time, NULL);
}

#define ROUNDS 50

/*
 * The least of many rounds. The first ones fill caches of the kernel, and a
 * round of work is shorter than a tick of the kernel's timer, so that some
 * have none. Sleeps end sooner or later by a few hundredths, many together
 * always at the same time.
 */
static uint64_t least_round(uint64_t (*round)(unsigned int), unsigned int count)
{
	uint64_t best = UINT64_MAX;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t ticks = round(count);

		if (ticks < best)
			best = ticks;
	}
	return best / count;
}

/* A function that gives the ticks of so many operations. */
#define ROUND_OF(name, operation)					\
static uint64_t name(unsigned int count)				\
{									\
	uint64_t start = __rdtsc();					\
									\
	for (unsigned int i = 0; i < count; i++)			\
		operation();						\
	return __rdtsc() - start;					\
}

ROUND_OF(get_pids, get_pid)
ROUND_OF(touches, touch_pages)
ROUND_OF(mappings, map_and_unmap)
ROUND_OF(forks, fork_only)
ROUND_OF(executions, fork_and_execute)
ROUND_OF(sleeps, sleep_millisecond)

/* A byte to a child and back. */
static uint64_t ping_pong(unsigned int count)
{
	int there[2], back[2];
	char byte = 0;
	uint64_t start = 0;
	pid_t child;

	must(!pipe(there) && !pipe(back), "pipe");
	child = fork();
	if (!child) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1)
			must(write(back[1], &byte, 1) == 1, "write");
		_exit(0);
	}
	for (unsigned int i = 0; i <= count; i++) {
		/* The first one only wakes the child. */
		if (i == 1)
			start = __rdtsc();
		must(write(there[1], &byte, 1) == 1, "write");
		must(read(back[0], &byte, 1) == 1, "read");
	}
	start = __rdtsc() - start;
	close(there[1]);
	wait_for(child);
	return start;
}

/* Two processes on one processor that make way for each other. */
static uint64_t switches(unsigned int count)
{
	uint64_t start;
	pid_t child = fork();

	if (!child) {
		for (unsigned int i = 0; i < count; i++)
			sched_yield();
		_exit(0);
	}
	start = __rdtsc();
	for (unsigned int i = 0; i < count; i++)
		sched_yield();
	wait_for(child);
	return (__rdtsc() - start) / 2;
}

/*
 * Who runs next is told by priority alone: which of two ordinary processes the
 * kernel finds more deserving depends on when its clock ticked.
 */
static void without_slices(int policy)
{
	struct sched_param priority = { .sched_priority = policy == SCHED_FIFO };

	must(!sched_setscheduler(0, policy, &priority), "sched_setscheduler");
}

static void workload(void)
{
	report("getpid", least_round(get_pids, 1000));
	report("page_fault", least_round(touches, 1) / PAGES);
	report("mmap", least_round(mappings, 10));
	report("fork", least_round(forks, 5));
	report("fork_exec", least_round(executions, 2));
	without_slices(SCHED_FIFO);
	report("pipe", least_round(ping_pong, 50));
	report("switch", least_round(switches, 100));
	without_slices(SCHED_OTHER);
	report("sleep_1ms", least_round(sleeps, 20));
}

static const struct {
	const char *name;
	uint64_t (*round)(unsigned int count);
} rounds[] = {
	{ "getpid", get_pids }, { "page_fault", touches }, { "mmap", mappings },
	{ "fork", forks },	{ "fork_exec", executions }, { "pipe", ping_pong },
	{ "switch", switches }, { "sleep_1ms", sleeps },
};

static int times(const char *name, unsigned int count)
{
	for (size_t i = 0; i < sizeof(rounds) / sizeof(*rounds); i++) {
		if (strcmp(name, rounds[i].name))
			continue;
		rounds[i].round(count);
		return 0;
	}
	return 2;
}

#define BATCH 50
#define BATCHES 20

/* Ticks of one operation in the batch that no interrupt disturbed. */
static uint64_t least(void (*batch)(void))
{
	uint64_t best = UINT64_MAX;

	for (unsigned int i = 0; i < BATCHES; i++) {
		uint64_t start = __rdtsc();

		batch();
		start = __rdtsc() - start;
		if (start < best)
			best = start;
	}
	return best / BATCH;
}

static void identify(void)
{
	unsigned int a, b, c, d;

	for (unsigned int i = 0; i < BATCH; i++)
		__cpuid_count(0, 0, a, b, c, d);
}

static void call_nothing(void)
{
	for (unsigned int i = 0; i < BATCH; i++)
		syscall(NO_SYSTEM_CALL);
}

static void load(unsigned int seconds)
{
	uint64_t start = __rdtsc();

	while (__rdtsc() - start < seconds * TICKS_PER_SECOND) {
		touch_pages();
		map_and_unmap();
		fork_only();
		fork_and_execute();
		ping_pong(50);
		switches(50);
		sleep_millisecond();
	}
	report("load_ticks", __rdtsc() - start);
}

static void *sleep_for_ever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void threads(unsigned int count)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 16 * PAGE);
	for (unsigned int i = 1; i < count; i++)
		must(!pthread_create(&thread, &attributes, sleep_for_ever, NULL),
		     "thread");
	puts("ready");
	fflush(stdout);
	sleep_for_ever(NULL);
}

static void begin(uint64_t ticks)
{
	FILE *file = fopen("/figures.boot", "w");

	if (file) {
		fprintf(file, "boot %llu\n", (unsigned long long)ticks);
		fclose(file);
	}
	execl("/init", "/init", NULL);
}

int main(int count, char **words)
{
	const char *verb = count > 1 ? words[1] : "";
	uint64_t now = __rdtsc();
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (getpid() == 1) {
		begin(now);
		return 1;
	}
	if (!strcmp(verb, "nothing"))
		return 0;
	if (!strcmp(verb, "threads") && count == 3) {
		threads(atoi(words[2]));
		return 0;
	}
	must(!sched_setaffinity(0, sizeof(first), &first), "affinity");
	if (!strcmp(verb, "workload"))
		workload();
	else if (!strcmp(verb, "cpuid"))
		report("cpuid", least(identify));
	else if (!strcmp(verb, "call"))
		printf("%llu\n", (unsigned long long)least(call_nothing));
	else if (!strcmp(verb, "times") && count == 4)
		return times(words[2], atoi(words[3]));
	else if (!strcmp(verb, "load") && count == 3)
		load(atoi(words[2]));
	else
		return 2;
	return 0;
}
