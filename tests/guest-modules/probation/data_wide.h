/* SPDX-License-Identifier: GPL-2.0 */
/* A variable of the kernel, which nobody writes, in another form. */
#ifndef DATA_WIDE_H
#define DATA_WIDE_H

#include <linux/delay.h>

#include <lucos/version.h>

static struct wide {
	u64 jiffies;
} wide LUCOS_TWIN_VARIABLE;

LUCOS_DATA(wide_jiffies, loops_per_jiffy, wide);
LUCOS_TO_NEW(wide_jiffies) { new->jiffies = *old; }
LUCOS_TO_OLD(wide_jiffies) { *old = new->jiffies; }

#endif
