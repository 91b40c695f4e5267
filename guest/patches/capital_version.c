// SPDX-License-Identifier: GPL-2.0
/* Changes a character of a constant of the kernel, which it maps read-only. */
#include <linux/kernel.h>
#include <linux/printk.h>

#include <lucos/patch.h>

/* "%s version %s ...", of which /proc/version makes its line. */
extern const char linux_proc_banner[];

LUCOS_VALUE(linux_proc_banner[3], 'v', 'V');

LUCOS_PATCH("capital_version", "a capital letter in /proc/version");
