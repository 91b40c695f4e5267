// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Asks for the VM exits twice, and once more after some idle seconds, all in
 * one process: a new one would wake up other processors. One line of JSON each.
 *
 *	exits SECONDS
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <lucos/interface.h>

static const char *const names[] = {
#define NAME(name, number, meaning) [number] = #name,
	LUCOS_EXIT_CLASSES(NAME)
#undef NAME
};

#define CLASSES (sizeof(names) / sizeof(*names))

static uint64_t reply[8192 / sizeof(uint64_t)];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static const struct lucos_exit_counters *counters(size_t length)
{
	const char *place = (const char *)reply + sizeof(struct lucos_reply);

	while (place < (const char *)reply + length) {
		const struct lucos_record *record = (const void *)place;

		if (record->kind == LUCOS_RECORD_EXITS)
			return (const void *)(record + 1);
		place += sizeof(*record) + record->size;
	}
	fprintf(stderr, "no exits\n");
	exit(1);
}

static void ask(int device, struct lucos_exit_counters *exits)
{
	ssize_t length;

	if (write(device, "status", 6) != 6)
		fail("status");
	length = read(device, reply, sizeof(reply));
	if (length < (ssize_t)sizeof(struct lucos_reply))
		fail("reply");
	*exits = *counters(length);
}

static void print(const char *name, const struct lucos_exit_counters *exits)
{
	printf("%s {", name);
	for (size_t i = 0; i < CLASSES; i++)
		printf("%s\"%s\": %llu", i ? ", " : "", names[i],
		       (unsigned long long)exits->counters[i]);
	printf("}\n");
}

int main(int count, char **words)
{
	struct lucos_exit_counters first, second, third;
	int device = open("/dev/lucos", O_RDWR);

	if (count != 2 || device < 0)
		fail("exits SECONDS");
	/* A first time for what is done once. */
	ask(device, &first);
	ask(device, &first);
	ask(device, &second);
	sleep(atoi(words[1]));
	ask(device, &third);
	print("first", &first);
	print("second", &second);
	print("third", &third);
	return 0;
}
