// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/hypercall: a test writes the five registers RAX, RBX, RCX, RDX and RSI
 * of a hypercall, and reads RAX, RBX, RCX and RDX as they are afterwards: the
 * same, when the instruction raised an exception.
 */
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

#include <asm/asm.h>
#include <asm/msr.h>

#include <lucos/interface.h>

static DEFINE_MUTEX(lock);
static u64 registers[5];

static void call(void)
{
	if (native_read_msr(LUCOS_REGISTER) >> LUCOS_FEATURES_SHIFT &
	    LUCOS_FEATURE_VMMCALL)
		asm volatile("1:	vmmcall\n2:\n" _ASM_EXTABLE(1b, 2b)
			     : "+a"(registers[0]), "+b"(registers[1]),
			       "+c"(registers[2]), "+d"(registers[3])
			     : "S"(registers[4])
			     : "memory", "cc");
	else
		asm volatile("1:	vmcall\n2:\n" _ASM_EXTABLE(1b, 2b)
			     : "+a"(registers[0]), "+b"(registers[1]),
			       "+c"(registers[2]), "+d"(registers[3])
			     : "S"(registers[4])
			     : "memory", "cc");
}

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
	if (sscanf(line, "%llx %llx %llx %llx %llx", &registers[0],
		   &registers[1], &registers[2], &registers[3],
		   &registers[4]) == 5)
		call();
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
			 (s64)registers[0], registers[1], registers[2],
			 registers[3]);
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
