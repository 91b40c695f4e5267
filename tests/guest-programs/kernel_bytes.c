// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * kernel_bytes SYMBOL... prints each symbol and the 64 bytes from it on. A symbol that ends with a
 * dot is the first whose name begins so.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES 64

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t find(const char *wanted)
{
	size_t length = strlen(wanted);
	/* With its end, unless anything may follow. */
	size_t compared = wanted[length - 1] == '.' ? length : length + 1;
	char line[1024], name[512];
	uint64_t address;
	FILE *list = fopen("/proc/kallsyms", "r");

	if (!list)
		fail("/proc/kallsyms");
	while (fgets(line, sizeof(line), list)) {
		if (sscanf(line, "%lx %*c %511s", &address, name) == 2 &&
		    !strncmp(name, wanted, compared)) {
			fclose(list);
			return address;
		}
	}
	fprintf(stderr, "kernel_bytes: no symbol %s\n", wanted);
	exit(1);
}

static void read_kernel(uint64_t address, uint8_t *bytes)
{
	int core = open("/proc/kcore", O_RDONLY);
	Elf64_Ehdr header;

	if (core < 0 ||
	    pread(core, &header, sizeof(header), 0) != sizeof(header))
		fail("/proc/kcore");
	for (int i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr part;

		if (pread(core, &part, sizeof(part),
			  header.e_phoff + i * sizeof(part)) != sizeof(part))
			fail("/proc/kcore");
		if (part.p_type != PT_LOAD || address < part.p_vaddr ||
		    address - part.p_vaddr >= part.p_memsz)
			continue;
		if (pread(core, bytes, BYTES,
			  part.p_offset + (address - part.p_vaddr)) != BYTES)
			fail("/proc/kcore");
		close(core);
		return;
	}
	fprintf(stderr, "kernel_bytes: /proc/kcore has not %#lx\n", address);
	exit(1);
}

int main(int count, char **words)
{
	for (int i = 1; i < count; i++) {
		uint8_t bytes[BYTES];

		read_kernel(find(words[i]), bytes);
		printf("%s ", words[i]);
		for (int at = 0; at < BYTES; at++)
			printf("%02x", bytes[at]);
		puts("");
	}
	return 0;
}
