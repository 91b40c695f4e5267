// SPDX-License-Identifier: GPL-2.0
/* Hooks that count, and of which one fails when it is told to. */
#include <linux/delay.h>
#include <linux/kernel.h>

#include <lucos/patch.h>

#include "values_target.h"

static int on_apply(void)
{
	/* In process context. */
	msleep(1);
	/* In force. */
	if (target_number != 11)
		return -EDOM;
	target_applies++;
	return target_error;
}

static void on_rollback(void)
{
	msleep(1);
	if (target_number == 11)
		target_rollbacks++;
}

LUCOS_VALUE(target_number, 5, 11);
LUCOS_ON_APPLY(on_apply);
LUCOS_ON_ROLLBACK(on_rollback);

LUCOS_PATCH("values_hooks", "has hooks");
