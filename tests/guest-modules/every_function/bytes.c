// SPDX-License-Identifier: GPL-2.0
/*
 * Shows bytes of the kernel's memory:
 *
 *	echo 0xffffffff81000000 >/sys/module/bytes/parameters/at
 *	cat /sys/module/bytes/parameters/at
 */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>

#define LENGTH 16

static unsigned long address;

static int write_at(const char *text, const struct kernel_param *parameter)
{
	return kstrtoul(text, 0, &address);
}

static int read_at(char *buffer, const struct kernel_param *parameter)
{
	u8 bytes[LENGTH];

	if (copy_from_kernel_nofault(bytes, (void *)address, LENGTH))
		return -EFAULT;
	return sysfs_emit(buffer, "%*ph\n", LENGTH, bytes);
}

static const struct kernel_param_ops operations = {
	.set = write_at,
	.get = read_at,
};
module_param_cb(at, &operations, NULL, 0600);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("shows bytes of the kernel's memory");
