// SPDX-License-Identifier: GPL-2.0
/*
 * Calls functions of the kernel whose windows break a rule, and shows what they
 * did, one a line, in /sys/module/calls/parameters/results.
 */
#include <linux/blk_types.h>
#include <linux/blkdev.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/memory_hotplug.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/netdevice.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "expiry.h"

static void nobody(struct page *page, unsigned int order)
{
}

/* Whether tasklet_unlock() takes the bit of a tasklet that runs. */
static int unlocked(void)
{
	struct tasklet_struct tasklet = { .state = BIT(TASKLET_STATE_RUN) };

	tasklet_unlock(&tasklet);
	return !test_bit(TASKLET_STATE_RUN, &tasklet.state);
}

/* Whether a timer that was never started counts as active. */
static int active(void)
{
	struct hrtimer timer;

	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	hrtimer_set_expires(&timer, SPECIAL_EXPIRY);
	return hrtimer_active(&timer);
}

static int read_results(char *buffer, const struct kernel_param *parameter)
{
	synchronize_net();
	return sysfs_emit(buffer,
			  "strcasecmp %d\n"
			  "errno_to_blk_status %d\n"
			  "restore_online_page_callback %d\n"
			  "tasklet_unlock %d\n"
			  "hrtimer_active %d\n",
			  strcasecmp("Word", "wORD"),
			  (__force int)errno_to_blk_status(-ENOSPC),
			  restore_online_page_callback(nobody), unlocked(),
			  active());
}

static const struct kernel_param_ops operations = { .get = read_results };
module_param_cb(results, &operations, NULL, 0400);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("calls functions whose windows break a rule");
