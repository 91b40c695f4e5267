// SPDX-License-Identifier: GPL-2.0
/* No ftrace slot, and a jump label on the first instruction. */
#include <linux/types.h>

#include <lucos/patch.h>

LUCOS_REPLACE_NOINSTR(native_sched_clock, u64, void)
{
	return 0;
}

LUCOS_PATCH("label_at_site", "replaces a function whose entry the kernel rewrites");
