// SPDX-License-Identifier: GPL-2.0
/*
 * A function of one instruction, replaced by the same without an ftrace slot of
 * its own: a call costs the jump more, and nothing else.
 */
#include <linux/errno.h>

#include <lucos/patch.h>

LUCOS_REPLACE_NOINSTR(__x64_sys_ni_syscall, long, const struct pt_regs *unused)
{
	return -ENOSYS;
}

LUCOS_PATCH("figures_call", "replaces what unknown system calls run by the same");
