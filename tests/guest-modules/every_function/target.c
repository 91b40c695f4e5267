// SPDX-License-Identifier: GPL-2.0
/* A module whose function is replaced and whose variable is used by others. */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>

static int secret = 7;

static noinline int read_answer(char *buffer,
				const struct kernel_param *parameter)
{
	return sysfs_emit(buffer, "%d\n", READ_ONCE(secret));
}

static const struct kernel_param_ops operations = { .get = read_answer };
module_param_cb(answer, &operations, NULL, 0400);
module_param(secret, int, 0600);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("is replaced in part");
