// SPDX-License-Identifier: GPL-2.0
/* Counters become structures, which know how often they were written too. */
#include <linux/delay.h>
#include <linux/slab.h>

#include <lucos/version.h>

#include "data_target.h"

struct counter {
	u64 units;
	u32 writes;	/* of new code */
};

static struct counter total LUCOS_TWIN_VARIABLE;
static struct counter slots[SLOTS] LUCOS_TWIN_VARIABLE;
static DEFINE_PER_CPU(struct counter, local);

LUCOS_DATA(total_counter, target_total, total);
LUCOS_TO_NEW(total_counter) { new->units = *old; }
LUCOS_TO_OLD(total_counter) { *old = new->units; }

LUCOS_DATA_ARRAY(slot_counters, target_slots, slots);
LUCOS_TO_NEW(slot_counters) { new->units = *old; }
LUCOS_TO_OLD(slot_counters) { *old = new->units; }

LUCOS_DATA_PER_CPU(local_counters, target_local, local);
LUCOS_TO_NEW(local_counters) { new->units = *old; }
LUCOS_TO_OLD(local_counters) { *old = new->units; }

/* The visits stay at home in the object, where their counter finds them. */
struct pair {
	u32 visits;
	u64 units;
};

static struct pair pair LUCOS_TWIN_VARIABLE;

LUCOS_DATA(pair_counter, target_pair, pair);
LUCOS_SHARED(pair_counter, visits);
LUCOS_TO_NEW(pair_counter) { new->units = old->units; }
LUCOS_TO_OLD(pair_counter) { old->units = new->units; }

static void walk_things(struct lucos_walk *walk)
{
	struct target_thing *thing;

	list_for_each_entry(thing, &target_things, link)
		lucos_found(walk, thing);
}

struct thing_counter {
	struct counter counter;
};

/* Only `units` has another form; the rest of a thing stays where it is. */
LUCOS_CARRIED(counter_of, struct target_thing, struct thing_counter,
	      .lock = target_lock, .walk = walk_things, .unlock = target_unlock);
LUCOS_TO_NEW(counter_of) { new->counter.units = old->units; }
LUCOS_TO_OLD(counter_of) { old->units = new->counter.units; }

static void count(struct counter *counter, int units)
{
	counter->units += units;
	counter->writes++;
}

LUCOS_REPLACE(target_add, void, int units)
{
	count(&total, units);
	count(&slots[units % SLOTS], units);
	count(this_cpu_ptr(&local), units);
	pair.units += units;
}

static void add_to_total(void)
{
	spin_lock(&target_units_lock);
	count(&total, 1);
	spin_unlock(&target_units_lock);
}

LUCOS_REPLACE(target_nap, void, void)
{
	add_to_total();
	while (READ_ONCE(target_hold))
		msleep(20);
	add_to_total();
}

LUCOS_REPLACE(target_show, int, char *buffer)
{
	u64 units = 0;
	int cpu, length, i;

	for_each_possible_cpu(cpu)
		units += per_cpu(local, cpu).units;
	length = scnprintf(buffer, PAGE_SIZE, "new total %llu local %llu slots",
			   total.units, units);
	for (i = 0; i < SLOTS; i++)
		length += scnprintf(buffer + length, PAGE_SIZE - length,
				    " %llu", slots[i].units);
	return length + scnprintf(buffer + length, PAGE_SIZE - length,
				  " writes %u\n", total.writes);
}

LUCOS_REPLACE(target_thing_add, void, struct target_thing *thing, int units)
{
	struct thing_counter *twin = counter_of(thing, GFP_ATOMIC);

	if (twin)
		count(&twin->counter, units);
	else
		thing->units += units;
}

LUCOS_REPLACE(target_thing_show, int, struct target_thing *thing, char *buffer)
{
	const struct thing_counter *twin = counter_of_find(thing);

	return scnprintf(buffer, PAGE_SIZE, "%d:new:%llu", thing->number,
			 twin ? twin->counter.units : (u64)thing->units);
}

LUCOS_REPLACE(target_thing_free, void, struct target_thing *thing)
{
	counter_of_free(thing);
	kfree(thing);
}

LUCOS_PATCH("data_wider", "counters become structures");
