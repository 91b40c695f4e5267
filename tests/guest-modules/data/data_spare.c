// SPDX-License-Identifier: GPL-2.0
/* A counter that becomes wider, in a step with other patches: its way there or back can fail. */
#include <linux/errno.h>
#include <linux/kernel.h>

#include <lucos/version.h>

#include "data_target.h"

struct spare {
	u64 units;
};

static struct spare spare LUCOS_TWIN_VARIABLE;

LUCOS_DATA(spare_counter, target_spare, spare);
LUCOS_TRY_TO_NEW(spare_counter)
{
	new->units = *old;
	return READ_ONCE(target_fault) == 8 ? -ERANGE : 0;
}
LUCOS_TRY_TO_OLD(spare_counter)
{
	*old = new->units;
	return READ_ONCE(target_fault) == 108 ? -ERANGE : 0;
}

LUCOS_REPLACE(target_spare_add, void, int units)
{
	spare.units += units;
}

LUCOS_REPLACE(target_spare_show, int, char *buffer)
{
	return scnprintf(buffer, PAGE_SIZE, "new %llu\n", spare.units);
}

LUCOS_PATCH("data_spare", "a counter becomes wider");
