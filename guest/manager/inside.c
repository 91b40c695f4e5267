// SPDX-License-Identifier: GPL-2.0
/* Who stands in code that somebody waits for, and since when. */
#include <linux/ktime.h>
#include <linux/string.h>

#include "inside.h"

void lucos_inside_note(struct loaded_inside *inside,
		       const struct lucos_occupant *who)
{
	if (!who) {
		memset(inside, 0, sizeof(*inside));
		return;
	}
	/* The boot is longer ago than any patch: 0 means nobody. */
	if (!inside->since || inside->who.thread != who->thread)
		inside->since = ktime_get_boottime_seconds();
	inside->who = *who;
}
