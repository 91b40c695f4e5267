// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/registrar: registers with LUCOS in the place of the update manager, as
 * all code of the kernel can: the identity of the boot is what a query tells.
 * A test writes how often; a reason behind it ends the last registration, and
 * "other" registers another kernel's boot.
 * Reading gives the last result, and how many calls were refused.
 */
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "hypercall.h"

static DEFINE_MUTEX(lock);
static struct lucos_system_status status;
static struct lucos_registration record;
static s64 last;
static unsigned int refused;

static s64 call(enum lucos_call number, u64 rbx, u64 rcx, u64 rdx, u64 rsi)
{
	s64 rax = hypercall(number, rbx, rcx, rdx, rsi);

	last = rax;
	refused += rax < 0;
	return rax;
}

static void fill_record(void)
{
	call(LUCOS_CALL_QUERY, LUCOS_QUERY_SYSTEM, 0, (unsigned long)&status,
	     sizeof(status));
	memset(&record, 0, sizeof(record));
	record.version = LUCOS_REGISTRATION_VERSION;
	record.size = sizeof(record);
	record.text_start = __START_KERNEL_map;
	record.text_end = MODULES_VADDR;
	record.modules_start = MODULES_VADDR;
	record.modules_end = MODULES_END;
	memcpy(record.boot_identity, status.boot_identity,
	       sizeof(record.boot_identity));
}

static ssize_t device_write(struct file *file, const char __user *data,
			    size_t length, loff_t *offset)
{
	unsigned int count, reason, i;
	bool other;
	char line[32];
	int words;

	if (length >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, data, length))
		return -EFAULT;
	line[length] = '\0';
	other = sysfs_streq(line, "other");
	count = 1;
	words = other ? 1 : sscanf(line, "%u %u", &count, &reason);
	if (words < 1)
		return -EINVAL;
	mutex_lock(&lock);
	refused = 0;
	fill_record();
	if (other)
		record.boot_identity[0] ^= 1;
	for (i = 1; i <= count; i++) {
		call(LUCOS_CALL_REGISTER, i, (unsigned long)&record,
		     sizeof(record), 0);
		cond_resched();
	}
	if (words == 2)
		call(LUCOS_CALL_UNREGISTER, count, reason, 0, 0);
	mutex_unlock(&lock);
	return length;
}

static ssize_t device_read(struct file *file, char __user *data, size_t length,
			   loff_t *offset)
{
	char line[64];
	int size;

	mutex_lock(&lock);
	size = scnprintf(line, sizeof(line), "%lld %u\n", last, refused);
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
	.name = "registrar",
	.fops = &operations,
	.mode = 0600,
};

module_misc_device(device);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("registrations in the update manager's place for tests");
