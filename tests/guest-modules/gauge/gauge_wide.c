// SPDX-License-Identifier: GPL-2.0
/* The gauge and the units of things become wider, and are kept in sixteenths. */
#include <linux/delay.h>

#include <lucos/version.h>

#include "gauge_target.h"

#define SIXTEENTHS 16

struct wide {
	u64 sixteenths;
	u64 adds;	/* of new code */
};

static struct wide gauge LUCOS_TWIN_VARIABLE;

LUCOS_DATA(wide_gauge, gauge_page.value, gauge);
LUCOS_TO_NEW(wide_gauge) { new->sixteenths = (u64)*old * SIXTEENTHS; }
LUCOS_TO_OLD(wide_gauge) { *old = new->sixteenths / SIXTEENTHS; }

static void walk_things(struct lucos_walk *walk)
{
	struct gauge_thing *thing;

	list_for_each_entry(thing, &gauge_things, link)
		lucos_found(walk, thing);
}

LUCOS_CARRIED(wide_of, struct gauge_thing, struct wide, .lock = gauge_lock,
	      .walk = walk_things, .unlock = gauge_unlock);
LUCOS_TO_NEW(wide_of) { new->sixteenths = (u64)old->units * SIXTEENTHS; }
LUCOS_TO_OLD(wide_of) { old->units = new->sixteenths / SIXTEENTHS; }

LUCOS_REPLACE(gauge_form, const char *, void)
{
	return "new";
}

LUCOS_REPLACE(gauge_add, void, u32 units)
{
	gauge.adds++;
	gauge.sixteenths += units * SIXTEENTHS;
}

LUCOS_REPLACE(gauge_value, u32, void)
{
	return READ_ONCE(gauge.sixteenths) / SIXTEENTHS;
}

LUCOS_REPLACE(gauge_nap, void, void)
{
	while (READ_ONCE(gauge_hold))
		msleep(20);
	gauge.adds++;
}

LUCOS_REPLACE(gauge_thing_add, void, struct gauge_thing *thing, u32 units)
{
	struct wide *twin = wide_of(thing, GFP_KERNEL);

	if (twin)
		twin->sixteenths += units * SIXTEENTHS;
	else
		thing->units += units;
}

LUCOS_REPLACE(gauge_thing_units, u32, struct gauge_thing *thing)
{
	const struct wide *twin = wide_of_find(thing);

	return twin ? READ_ONCE(twin->sixteenths) / SIXTEENTHS : thing->units;
}

LUCOS_REPLACE(gauge_thing_free, void, struct gauge_thing *thing)
{
	wide_of_free(thing);
	free_page((unsigned long)thing);
}

LUCOS_PATCH("gauge_wide", "a gauge becomes wider");
