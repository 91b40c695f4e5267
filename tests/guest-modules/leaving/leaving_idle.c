// SPDX-License-Identifier: GPL-2.0
/*
 * A function that idle threads never leave, and data: the old code is never
 * drained.
 */
#include <linux/cpuhotplug.h>
#include <linux/sched.h>
#include <linux/sched/idle.h>

#include <lucos/version.h>

#include "leaving_target.h"

struct count {
	u64 left;
};

static struct count count LUCOS_TWIN_VARIABLE;

LUCOS_DATA(idle_count, leaving_idle_count, count);
LUCOS_TO_NEW(idle_count) { new->left = *old; }
LUCOS_TO_OLD(idle_count) { *old = new->left; }

void arch_cpu_idle_prepare(void);
void cpuhp_online_idle(enum cpuhp_state state);
void do_idle(void);

/* For processors that come online. */
LUCOS_REPLACE(cpu_startup_entry, void, enum cpuhp_state state)
{
	current->flags |= PF_IDLE;
	arch_cpu_idle_prepare();
	cpuhp_online_idle(state);
	for (;;)
		do_idle();
}

LUCOS_REPLACE(leaving_idle_add, void, void)
{
	count.left++;
}

LUCOS_PATCH("leaving_idle", "counts in more bits, while idle threads stay");
