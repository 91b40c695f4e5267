// SPDX-License-Identifier: GPL-2.0
/* Replaces a function of one of Debian's modules. */
#include <linux/device.h>
#include <linux/sysfs.h>

#include <lucos/patch.h>

LUCOS_REPLACE_SELECTED("loop", 0, "loop_attr_do_show_offset", show_offset,
		       ssize_t, struct device *device,
		       struct device_attribute *attribute, char *buffer)
{
	return sysfs_emit(buffer, "4242\n");
}

LUCOS_PATCH("loop_offset", "changes what the loop driver shows");
