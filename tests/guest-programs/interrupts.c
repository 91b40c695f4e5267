/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Compares /proc/interrupts with what the handlers of interrupts have counted,
 * over and over:
 *
 *	interrupts HANDLED		until SIGTERM comes; a count may be one
 *					ahead of its handler
 *	interrupts HANDLED rest		once, while no interrupt comes: to the
 *					number, and in /sys/kernel/irq too
 *
 * HANDLED has lines `IRQ COUNT...`, a count for each processor. Prints names and
 * numbers: `reads`, `lines` that were compared in each, and how often a count was
 * `backwards` (less than before, of any interrupt), `lost` (less than handled)
 * and `ahead` (more than handled afterwards). The first of each kind is told.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CPUS 64
#define IRQS 1024
#define PAUSE_US 50000

typedef unsigned long long counts[IRQS][CPUS];

static counts before, shown, previous, after;
static char known[IRQS];
static volatile sig_atomic_t ended;
static unsigned long reads, lines, backwards, lost, ahead;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

/* The numbers of a line behind that of its interrupt. */
static int parse(char *text, unsigned long long *numbers)
{
	int count = 0;
	char *rest;

	for (; count < CPUS; count++, text = rest) {
		numbers[count] = strtoull(text, &rest, 10);
		if (rest == text || (*rest != ' ' && *rest != '\n' && *rest != ','))
			break;
		if (*rest == ',')
			rest++;
	}
	return count;
}

/* Reads lines that begin with a number and `separator`; marks which in `seen`. */
static int read_counts(const char *path, const char *separator, counts numbers, char *seen)
{
	FILE *file = fopen(path, "r");
	char line[4096], *rest;

	if (!file) {
		perror(path);
		return 0;
	}
	while (fgets(line, sizeof(line), file)) {
		unsigned long irq = strtoul(line, &rest, 10);

		if (rest == line || *rest != *separator || irq >= IRQS)
			continue;
		parse(rest + 1, numbers[irq]);
		if (seen)
			seen[irq] = 1;
	}
	fclose(file);
	return 1;
}

static void tell(const char *what, unsigned long *number, int irq, int cpu)
{
	if (!(*number)++)
		printf("first.%s irq %d cpu %d before %llu shown %llu previous %llu after %llu\n",
		       what, irq, cpu, before[irq][cpu], shown[irq][cpu], previous[irq][cpu],
		       after[irq][cpu]);
}

static void compare(int irq, int cpus, unsigned long long tolerance)
{
	int cpu;

	for (cpu = 0; cpu < cpus; cpu++) {
		if (shown[irq][cpu] < before[irq][cpu])
			tell("lost", &lost, irq, cpu);
		if (shown[irq][cpu] > after[irq][cpu] + tolerance)
			tell("ahead", &ahead, irq, cpu);
	}
}

static void look_back(int cpus)
{
	int irq, cpu;

	for (irq = 0; irq < IRQS; irq++)
		for (cpu = 0; cpu < cpus; cpu++)
			if (shown[irq][cpu] < previous[irq][cpu])
				tell("backwards", &backwards, irq, cpu);
	memcpy(previous, shown, sizeof(shown));
}

/* What the kernel's objects say of an interrupt is what /proc/interrupts says. */
static void compare_object(int irq, int cpus)
{
	unsigned long long numbers[CPUS];
	char path[64], line[4096];
	FILE *file;
	int cpu;

	snprintf(path, sizeof(path), "/sys/kernel/irq/%d/per_cpu_count", irq);
	file = fopen(path, "r");
	if (!file || !fgets(line, sizeof(line), file))
		line[0] = '\0';
	if (file)
		fclose(file);
	if (parse(line, numbers) < cpus)
		tell("lost", &lost, irq, 0);
	for (cpu = 0; cpu < cpus; cpu++)
		if (numbers[cpu] != shown[irq][cpu])
			tell("lost", &lost, irq, cpu);
}

static int look(const char *handled, int cpus, int rests)
{
	int irq;

	memset(known, 0, sizeof(known));
	memset(shown, 0, sizeof(shown));
	if (!read_counts(handled, " ", before, known) ||
	    !read_counts("/proc/interrupts", ":", shown, NULL) ||
	    !read_counts(handled, " ", after, NULL))
		return 0;
	reads++;
	lines = 0;
	for (irq = 0; irq < IRQS; irq++) {
		if (!known[irq])
			continue;
		lines++;
		compare(irq, cpus, !rests);
		if (rests)
			compare_object(irq, cpus);
	}
	look_back(cpus);
	return 1;
}

/* As many as the head of /proc/interrupts names. */
static int processors(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	char line[4096] = "", *place = line;
	int count = 0;

	if (file && fgets(line, sizeof(line), file))
		while ((place = strstr(place, "CPU")) && count < CPUS) {
			count++;
			place += 3;
		}
	if (file)
		fclose(file);
	return count;
}

int main(int argc, char **argv)
{
	int rests = argc == 3, cpus = processors();

	if (argc < 2)
		return 2;
	signal(SIGTERM, end);
	while (look(argv[1], cpus, rests)) {
		if (rests || ended)
			goto done;
		/* Most of the time nobody is inside. */
		usleep(PAUSE_US);
	}
	return 1;
done:
	printf("reads %lu\nlines %lu\nbackwards %lu\nlost %lu\nahead %lu\n", reads, lines,
	       backwards, lost, ahead);
	return 0;
}
