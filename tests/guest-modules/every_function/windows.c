// SPDX-License-Identifier: GPL-2.0
/*
 * Functions whose windows take no jump: each keeps its trap, for a reason of
 * its own.
 */
#include <linux/blk_types.h>
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/memory_hotplug.h>
#include <linux/moduleparam.h>
#include <linux/uio.h>

#include <asm/msr.h>

#include <lucos/patch.h>

static unsigned long unlocks;
module_param(unlocks, ulong, 0400);

/* A jump label. */
LUCOS_REPLACE(urandom_read_iter, ssize_t, struct kiocb *request,
	      struct iov_iter *place)
{
	return copy_to_iter("LUCOS", 5, place);
}

/* A static call. */
LUCOS_REPLACE(restore_online_page_callback, int,
	      online_page_callback_t callback)
{
	return 4242;
}

/* A LOCK prefix, which the kernel takes off while it has one processor. */
LUCOS_REPLACE(tasklet_unlock, void, struct tasklet_struct *tasklet)
{
	WRITE_ONCE(unlocks, unlocks + 1);
	smp_mb__before_atomic();
	clear_bit(TASKLET_STATE_RUN, &tasklet->state);
}

/* An exception table entry; the new function has one of its own. */
LUCOS_REPLACE_SELECTED_NOINSTR("vmlinux", 0, "native_read_msr_safe",
			       read_msr_safe, u64, unsigned int msr, int *error)
{
	u64 value = native_read_msr_safe(msr, error);

	return msr == MSR_MTRRfix64K_00000 ? 0x4242424242424242 : value;
}

/* A branch into the window, without an ftrace slot before it. */
LUCOS_REPLACE_NOINSTR(strcasecmp, int, const char *first, const char *second)
{
	return 4242;
}

/* The same, with a slot. */
LUCOS_REPLACE(errno_to_blk_status, blk_status_t, int error)
{
	return error == -ENOSPC ? (__force blk_status_t)42 : BLK_STS_IOERR;
}

LUCOS_PATCH("windows", "replaces functions that keep their traps");
