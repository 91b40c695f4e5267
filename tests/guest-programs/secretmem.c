/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Uses secret memory, page by page, each mapped for itself and given up again:
 *
 *	secretmem PAGES
 *		touches half of the pages, says how many it got, waits for a
 *		line; touches the others, says how many; waits for a line;
 *		closes the file, and says so
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096

static sigjmp_buf denied;

static void deny(int signal)
{
	(void)signal;
	siglongjmp(denied, 1);
}

/* Touches pages from `first` on; gives how many it got. */
static int touch(int file, int first, int count)
{
	volatile int i;

	for (i = 0; i < count; i++) {
		volatile char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
					   file, (off_t)(first + i) * PAGE);

		if (page == MAP_FAILED || sigsetjmp(denied, 1))
			break;
		*page = 1;
		munmap((void *)page, PAGE);
	}
	return i;
}

static void wait_for_line(void)
{
	int byte;

	fflush(stdout);
	do
		byte = getchar();
	while (byte != '\n' && byte != EOF);
}

int main(int argc, char **argv)
{
	int pages = argc == 2 ? atoi(argv[1]) : 0;
	int file = syscall(SYS_memfd_secret, 0);

	if (file < 0 || ftruncate(file, (off_t)pages * PAGE)) {
		perror("memfd_secret");
		return 1;
	}
	signal(SIGBUS, deny);
	printf("first %d\n", touch(file, 0, pages / 2));
	wait_for_line();
	printf("second %d\n", touch(file, pages / 2, pages / 2));
	wait_for_line();
	close(file);
	puts("closed");
	return 0;
}
