/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * CPUIDs of two and of three bytes in pages that lie side by side, across the
 * end of a page, and in a page that is replaced. After each one the program
 * must go on at the next instruction with LUCOS's signature in EBX. One line
 * for each place: its name and how often that was so.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096
#define PAGES 6
#define ROUNDS 100
#define LEAF 0x40000000
#define SIGNATURE 0x4f43554c

static const unsigned char plain[] = {
	0x53,			/* push %rbx */
	0x89, 0xf8,		/* mov %edi, %eax */
	0x31, 0xc9,		/* xor %ecx, %ecx */
	0x0f, 0xa2,		/* cpuid */
	0x89, 0xd8,		/* mov %ebx, %eax */
	0x5b, 0xc3,		/* pop %rbx; ret */
};
/* After two bytes of its CPUID the rest would be read as something else. */
static const unsigned char prefixed[] = {
	0x53, 0x89, 0xf8, 0x31, 0xc9, 0x48, 0x0f, 0xa2, 0x89, 0xd8, 0x5b, 0xc3,
};

static unsigned char *code;

static unsigned char *place(int page, int offset, int is_prefixed)
{
	const void *from = is_prefixed ? prefixed : plain;
	size_t size = is_prefixed ? sizeof(prefixed) : sizeof(plain);

	return memcpy(code + page * PAGE + offset, from, size);
}

static int call(const unsigned char *function)
{
	return ((uint32_t (*)(uint32_t))function)(LEAF) == SIGNATURE;
}

/* Another page with other code at the same address. */
static unsigned char *replace(int page, int is_prefixed)
{
	int rights = PROT_READ | PROT_WRITE | PROT_EXEC;

	if (mmap(code + page * PAGE, PAGE, rights,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return NULL;
	return place(page, 64, is_prefixed);
}

int main(void)
{
	int first = 0, second = 0, long_one = 0, across = 0, replaced = 0;
	unsigned char *here, *there, *longer, *end;

	code = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		return 1;
	here = place(0, 16, 0);
	there = place(1, 16, 0);
	longer = place(2, 16, 1);
	/* CPUID is the sixth and seventh byte: one on each side. */
	end = place(3, PAGE - 6, 0);
	for (int i = 0; i < ROUNDS; i++) {
		unsigned char *other = replace(5, i % 2);

		first += call(here);
		second += call(there);
		long_one += call(longer);
		first += call(here);
		across += call(end);
		replaced += other && call(other);
		second += call(there);
	}
	printf("first %d\nsecond %d\nprefixed %d\nacross %d\nreplaced %d\n",
	       first, second, long_one, across, replaced);
	return 0;
}
