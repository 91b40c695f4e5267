/* SPDX-License-Identifier: GPL-2.0 */
/* A gauge, and things with units, each on a page of its own. */
#ifndef GAUGE_TARGET_H
#define GAUGE_TARGET_H

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/types.h>

union gauge_page {
	u32 value;
	u8 page[PAGE_SIZE];
};

extern union gauge_page gauge_page;

/* On a list that a lock guards. */
struct gauge_thing {
	struct list_head link;
	u32 units;
};

extern struct list_head gauge_things;
void gauge_lock(void);
void gauge_unlock(void);

/* Whether who naps goes on napping. */
extern bool gauge_hold;

/* To be replaced: */
void gauge_add(u32 units);
void gauge_nap(void);
void gauge_thing_add(struct gauge_thing *thing, u32 units);
void gauge_thing_free(struct gauge_thing *thing);
/* What the code that runs knows, and which it is. */
const char *gauge_form(void);
u32 gauge_value(void);
u32 gauge_thing_units(struct gauge_thing *thing);

#endif
