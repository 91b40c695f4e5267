// SPDX-License-Identifier: GPL-2.0
/* Many buses have a function of this name. */
#include <linux/device.h>

#include <lucos/patch.h>

LUCOS_REPLACE(modalias_show, ssize_t, struct device *device,
	      struct device_attribute *attribute, char *buffer)
{
	return 0;
}

LUCOS_PATCH("ambiguous", "replaces one of several functions");
