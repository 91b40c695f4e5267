// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/hypercall: a test writes the five registers RAX, RBX, RCX, RDX and RSI
 * of a hypercall, and reads RAX, RBX, RCX and RDX as they are afterwards. RAX is
 * 256 when the instruction raised an exception.
 */
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

#include "hypercall.h"

static DEFINE_MUTEX(lock);
static struct registers registers;

static ssize_t device_write(struct file *file, const char __user *data,
			    size_t length, loff_t *offset)
{
	char line[128];
	ssize_t result = length;

	if (length >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, data, length))
		return -EFAULT;
	line[length] = '\0';
	mutex_lock(&lock);
	if (sscanf(line, "%llx %llx %llx %llx %llx", &registers.rax,
		   &registers.rbx, &registers.rcx, &registers.rdx,
		   &registers.rsi) == 5)
		make_hypercall(&registers);
	else
		result = -EINVAL;
	mutex_unlock(&lock);
	return result;
}

static ssize_t device_read(struct file *file, char __user *data, size_t length,
			   loff_t *offset)
{
	char line[128];
	int size;

	mutex_lock(&lock);
	size = scnprintf(line, sizeof(line), "%lld %#llx %#llx %#llx\n",
			 (s64)registers.rax, registers.rbx, registers.rcx,
			 registers.rdx);
	mutex_unlock(&lock);
	return simple_read_from_buffer(data, length, offset, line, size);
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.read = device_read,
	.write = device_write,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hypercall",
	.fops = &operations,
	.mode = 0600,
};

module_misc_device(device);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("hypercalls for tests");
