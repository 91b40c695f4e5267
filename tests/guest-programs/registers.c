/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * registers NUMBER:BITS...: reads model-specific registers by the kernel's
 * driver, writes them with these bits changed, and writes the old value back.
 * One line for each: "NUMBER missing", "NUMBER kept" when the write is refused,
 * or "NUMBER written".
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	int file = open("/dev/cpu/0/msr", O_RDWR);
	int i;

	if (file < 0) {
		perror("/dev/cpu/0/msr");
		return 1;
	}
	for (i = 1; i < count; i++) {
		char *end;
		uint64_t number = strtoull(arguments[i], &end, 16);
		uint64_t bits = *end == ':' ? strtoull(end + 1, NULL, 16) : 0;
		uint64_t old, new;
		const char *verdict = "kept";

		if (pread(file, &old, sizeof(old), number) != sizeof(old)) {
			printf("%lx missing\n", (unsigned long)number);
			continue;
		}
		new = old ^ bits;
		if (pwrite(file, &new, sizeof(new), number) == sizeof(new)) {
			verdict = "written";
			pwrite(file, &old, sizeof(old), number);
		}
		printf("%lx %s\n", (unsigned long)number, verdict);
	}
	return 0;
}
