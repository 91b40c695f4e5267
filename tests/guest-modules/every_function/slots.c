// SPDX-License-Identifier: GPL-2.0
/* Functions that are redirected at their ftrace slots, each for a reason. */
#include <linux/hrtimer.h>
#include <linux/moduleparam.h>
#include <linux/netdevice.h>
#include <linux/psi.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>

#include <lucos/patch.h>

#include "expiry.h"

static unsigned long synchronized;
module_param(synchronized, ulong, 0400);

/* A jump label on the first instruction. */
LUCOS_REPLACE(psi_show, int, struct seq_file *file, struct psi_group *group,
	      enum psi_res resource)
{
	seq_puts(file, "new\n");
	return 0;
}

/* A static call there. */
LUCOS_REPLACE(synchronize_net, void, void)
{
	WRITE_ONCE(synchronized, synchronized + 1);
	synchronize_rcu();
}

/* A branch back to it. */
LUCOS_REPLACE(hrtimer_active, bool, const struct hrtimer *timer)
{
	return hrtimer_is_queued((struct hrtimer *)timer) ||
	       hrtimer_callback_running((struct hrtimer *)timer) ||
	       hrtimer_get_expires(timer) == SPECIAL_EXPIRY;
}

/* It begins with a load into a 64-bit register. That is behind the slot, whatever the site is. */
LUCOS_EXPECT(hrtimer_active, 0x48, 0x8b);

LUCOS_PATCH("slots", "replaces functions at their ftrace slots");
