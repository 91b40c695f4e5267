// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/text keeps a copy of memory between the parameters `start` and `end`,
 * made when the module is loaded. Reading gives the number of bytes that are
 * different now and the address of the first of them.
 */
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

static unsigned long start;
module_param(start, ulong, 0);
static unsigned long end;
module_param(end, ulong, 0);

static u8 *copy;

/* Lets others run now and then: there are megabytes to go. */
#define STEP 65536UL

static void compare(unsigned long *differences, unsigned long *first)
{
	const u8 *now = (const u8 *)start;
	unsigned long offset, index, size;

	for (offset = 0; offset < end - start; offset += STEP) {
		size = min(STEP, end - start - offset);
		cond_resched();
		if (!memcmp(now + offset, copy + offset, size))
			continue;
		for (index = offset; index < offset + size; index++) {
			if (now[index] == copy[index])
				continue;
			if (!*differences)
				*first = start + index;
			++*differences;
		}
	}
}

static ssize_t device_read(struct file *file, char __user *data, size_t length,
			   loff_t *offset)
{
	unsigned long differences = 0, first = 0;
	char line[64];
	int size;

	if (*offset)
		return 0;
	compare(&differences, &first);
	size = scnprintf(line, sizeof(line), "%lu %#lx\n", differences, first);
	return simple_read_from_buffer(data, length, offset, line, size);
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.read = device_read,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "text",
	.fops = &operations,
	.mode = 0600,
};

static int __init text_init(void)
{
	unsigned long offset;
	int error;

	if (start >= end || !(copy = vmalloc(end - start)))
		return -EINVAL;
	for (offset = 0; offset < end - start; offset += STEP) {
		memcpy(copy + offset, (const u8 *)start + offset,
		       min(STEP, end - start - offset));
		cond_resched();
	}
	error = misc_register(&device);
	if (error)
		vfree(copy);
	return error;
}

static void __exit text_exit(void)
{
	misc_deregister(&device);
	vfree(copy);
}

module_init(text_init);
module_exit(text_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("tells whether the kernel's text has changed");
