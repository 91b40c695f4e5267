// SPDX-License-Identifier: GPL-2.0
/* Counts the events of each thing in its twin. */
#include <linux/delay.h>

#include <lucos/twin.h>

#include "twin_user.h"

struct count {
	atomic_t events;
	int number;
};

static int make(struct count *count, struct thing *thing)
{
	atomic_inc(&twin_user_made);
	count->number = thing->number;
	return 0;
}

static void drop(struct count *count)
{
	atomic_inc(&twin_user_dropped);
	atomic_add(atomic_read(&count->events), &twin_user_counted);
}

LUCOS_TWIN(count_of, struct thing, struct count, .make = make, .drop = drop);

LUCOS_REPLACE(twin_user_event, void, struct thing *thing)
{
	struct count *count = count_of(thing, GFP_ATOMIC);

	/* The number says that it is the right one. */
	if (count && count->number == thing->number)
		atomic_inc(&count->events);
}

LUCOS_REPLACE(twin_user_end, void, struct thing *thing)
{
	count_of_free(thing);
}

LUCOS_REPLACE(twin_user_sleep, void, void)
{
	while (twin_user_holds())
		msleep(20);
}

LUCOS_PATCH("counted", "counts the events of things");
