// SPDX-License-Identifier: MIT OR Apache-2.0
/* The kernel's code, read through /proc/kcore. */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

struct site sites[PATCHES];

static void read_text(uint64_t address, void *bytes, size_t size)
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
		if (pread(core, bytes, size,
			  part.p_offset + (address - part.p_vaddr)) !=
		    (ssize_t)size)
			fail("/proc/kcore");
		close(core);
		return;
	}
	fprintf(stderr, "load: /proc/kcore has not %#lx\n", address);
	exit(1);
}

void find_sites(void)
{
	uint64_t addresses[PATCHES];
	int count = patch_sites(PATCHES, addresses, PATCHES);

	if (count != PATCHES) {
		fprintf(stderr, "load: %d sites: %s\n", count,
			manager_complaint());
		exit(1);
	}
	for (int i = 0; i < PATCHES; i++)
		sites[i].address = addresses[i];
}

void read_sites(void)
{
	for (int i = 0; i < PATCHES; i++)
		read_text(sites[i].address, sites[i].bytes, SITE_BYTES);
}

int different_sites(void)
{
	int different = 0;

	for (int i = 0; i < PATCHES; i++) {
		uint8_t bytes[SITE_BYTES];

		read_text(sites[i].address, bytes, SITE_BYTES);
		different += memcmp(bytes, sites[i].bytes, SITE_BYTES) != 0;
	}
	return different;
}

uint8_t first_byte(int site)
{
	uint8_t byte;

	read_text(sites[site].address, &byte, 1);
	return byte;
}
