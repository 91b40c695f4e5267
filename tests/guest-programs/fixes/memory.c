// SPDX-License-Identifier: MIT OR Apache-2.0
// Address spaces.

#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fixes.h"

// Moves a locked mapping to the addresses right behind it and keeps the source, then unmaps both.
// Prints how many KiB the kernel still counts as locked.
int mremap_locked(void)
{
	const size_t size = 4 * (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *area = mmap(NULL, 3 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *source = area + size;
	char line[128];
	long left = -1;

	if (area == MAP_FAILED || munmap(area, 3 * size))
		return fail("mmap");
	if (mmap(source, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != source)
		return fail("mmap");
	if (mlock2(source, size, MLOCK_ONFAULT))
		return fail("mlock2");
	if (mremap(source, size, size, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		   source + size) == MAP_FAILED)
		return fail("mremap");
	if (munmap(source, 2 * size))
		return fail("munmap");

	FILE *status = fopen("/proc/self/status", "r");

	if (!status)
		return fail("/proc/self/status");
	while (left < 0 && fgets(line, sizeof(line), status))
		sscanf(line, "VmLck: %ld kB", &left);
	fclose(status);
	printf("%ld\n", left);
	return left < 0;
}

// Sets an auxiliary vector of one entry. Prints how many entries the kernel then shows.
int auxiliary_vector(void)
{
	const Elf64_auxv_t entry = { .a_type = AT_PAGESZ, .a_un.a_val = 4096 };
	Elf64_auxv_t shown[128];

	if (prctl(PR_SET_MM, PR_SET_MM_AUXV, &entry, sizeof(entry), 0))
		return fail("PR_SET_MM_AUXV");

	int file = open("/proc/self/auxv", O_RDONLY);
	ssize_t length = file < 0 ? -1 : read(file, shown, sizeof(shown));

	if (length < (ssize_t)sizeof(*shown))
		return fail("/proc/self/auxv");
	puts((size_t)length / sizeof(*shown) > 2 ? "old entries stay" : "one entry");
	return 0;
}
