/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * kexec KERNEL INITRD COMMAND-LINE: starts another kernel in the place of the
 * running one.
 */
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	int kernel, initrd;

	if (count != 4)
		return 2;
	kernel = open(arguments[1], O_RDONLY);
	initrd = open(arguments[2], O_RDONLY);
	if (syscall(SYS_kexec_file_load, kernel, initrd,
		    strlen(arguments[3]) + 1, arguments[3], 0L)) {
		perror("kexec_file_load");
		return 1;
	}
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_KEXEC, NULL);
	perror("reboot");
	return 1;
}
