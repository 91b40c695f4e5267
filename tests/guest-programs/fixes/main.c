// SPDX-License-Identifier: MIT OR Apache-2.0
// Shows whether the running kernel has a fix: `fixes NAME` prints what the kernel does. What is
// printed without and with each fix is in tests/fixes.

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fixes.h"

static const struct {
	const char *name;
	int (*run)(void);
} reproducers[] = {
	{ "absolute_update", absolute_update },
	{ "auxiliary_vector", auxiliary_vector },
	{ "bitwise_overlap", bitwise_overlap },
	{ "bitwise_shift", bitwise_shift },
	{ "copy_behind_limit", copy_behind_limit },
	{ "deadline_task", deadline_task },
	{ "deboosted_task", deboosted_task },
	{ "getfd_of_zombie", getfd_of_zombie },
	{ "hint_of_immutable", hint_of_immutable },
	{ "loop_block_size", loop_block_size },
	{ "mremap_locked", mremap_locked },
	{ "namespace_of_zombie", namespace_of_zombie },
	{ "new_syscall", new_syscall },
	{ "packet_length", packet_length },
	{ "push_tasks", push_tasks },
	{ "reserved_memory", reserved_memory },
	{ "sleepers", sleepers },
	{ "switches_counted", switches_counted },
	{ "tcp_filter", tcp_filter },
	{ "timeout_fields", timeout_fields },
};

int print_error(int number)
{
	const char *name = number ? strerrorname_np(number) : "accepted";

	if (!name) {
		fprintf(stderr, "fixes: error number %d\n", number);
		return 1;
	}
	puts(name);
	return 0;
}

int fail(const char *what)
{
	fprintf(stderr, "fixes: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	const size_t count = sizeof(reproducers) / sizeof(*reproducers);

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc == 2 && i < count; i++) {
		if (!strcmp(argv[1], reproducers[i].name))
			return reproducers[i].run();
	}
	fprintf(stderr, "usage: fixes NAME, one of:\n");
	for (size_t i = 0; i < count; i++)
		fprintf(stderr, "  %s\n", reproducers[i].name);
	return 2;
}
