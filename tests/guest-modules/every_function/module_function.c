// SPDX-License-Identifier: GPL-2.0
/* Replaces a function of a module. */
#include <linux/moduleparam.h>
#include <linux/sysfs.h>

#include <lucos/patch.h>

extern int secret LUCOS_SYMBOL("target", 0, "secret");

LUCOS_REPLACE_SELECTED("target", 0, "read_answer", read_answer, int,
		       char *buffer, const struct kernel_param *parameter)
{
	return sysfs_emit(buffer, "%d\n", 1000 + READ_ONCE(secret));
}

LUCOS_PATCH("module_function", "replaces a function of a module");
