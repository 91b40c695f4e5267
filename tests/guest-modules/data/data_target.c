// SPDX-License-Identifier: GPL-2.0
/*
 * Data of a kernel: variables, an array, a per-CPU variable, and things that are
 * made and freed. The parameter `raw` shows the memory as it is; everything else
 * goes through functions that patches replace.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "data_target.h"

#define THREADS 2

int target_total = 1;
EXPORT_SYMBOL_GPL(target_total);
int target_slots[SLOTS] = { 10, 20, 30, 40 };
EXPORT_SYMBOL_GPL(target_slots);
DEFINE_PER_CPU(int, target_local) = 100;
EXPORT_PER_CPU_SYMBOL_GPL(target_local);

struct target_pair target_pair;
EXPORT_SYMBOL_GPL(target_pair);
int target_spare = 7;
EXPORT_SYMBOL_GPL(target_spare);

int target_fault;
EXPORT_SYMBOL_GPL(target_fault);
module_param(target_fault, int, 0600);
int target_victim;
EXPORT_SYMBOL_GPL(target_victim);
module_param(target_victim, int, 0600);

DEFINE_SPINLOCK(target_units_lock);
EXPORT_SYMBOL_GPL(target_units_lock);
bool target_hold;
EXPORT_SYMBOL_GPL(target_hold);
module_param(target_hold, bool, 0600);

LIST_HEAD(target_things);
EXPORT_SYMBOL_GPL(target_things);
static DEFINE_MUTEX(things_lock);

void target_lock(void)
{
	mutex_lock(&things_lock);
}
EXPORT_SYMBOL_GPL(target_lock);

void target_unlock(void)
{
	mutex_unlock(&things_lock);
}
EXPORT_SYMBOL_GPL(target_unlock);

noinline void target_add(int units)
{
	target_total += units;
	target_slots[units % SLOTS] += units;
	this_cpu_add(target_local, units);
	target_pair.units += units;
}
EXPORT_SYMBOL_GPL(target_add);

noinline void target_spare_add(int units)
{
	target_spare += units;
}
EXPORT_SYMBOL_GPL(target_spare_add);

noinline int target_spare_show(char *buffer)
{
	return scnprintf(buffer, PAGE_SIZE, "old %d\n", target_spare);
}
EXPORT_SYMBOL_GPL(target_spare_show);

static void add_to_total(void)
{
	spin_lock(&target_units_lock);
	target_total++;
	spin_unlock(&target_units_lock);
}

noinline void target_nap(void)
{
	add_to_total();
	while (READ_ONCE(target_hold))
		msleep(20);
	add_to_total();
}
EXPORT_SYMBOL_GPL(target_nap);

noinline int target_show(char *buffer)
{
	int cpu, local = 0, length, i;

	for_each_possible_cpu(cpu)
		local += per_cpu(target_local, cpu);
	length = scnprintf(buffer, PAGE_SIZE, "old total %d local %d slots",
			   target_total, local);
	for (i = 0; i < SLOTS; i++)
		length += scnprintf(buffer + length, PAGE_SIZE - length, " %d",
				    target_slots[i]);
	return length + scnprintf(buffer + length, PAGE_SIZE - length, "\n");
}
EXPORT_SYMBOL_GPL(target_show);

noinline void target_thing_add(struct target_thing *thing, int units)
{
	thing->units += units;
}
EXPORT_SYMBOL_GPL(target_thing_add);

noinline int target_thing_show(struct target_thing *thing, char *buffer)
{
	return scnprintf(buffer, PAGE_SIZE, "%d:old:%d", thing->number,
			 thing->units);
}
EXPORT_SYMBOL_GPL(target_thing_show);

noinline void target_thing_free(struct target_thing *thing)
{
	kfree(thing);
}
EXPORT_SYMBOL_GPL(target_thing_free);

/* A parameter is written with a lock held: what takes long is done by threads. */
static int running;
module_param(running, int, 0400);
static int added;
module_param(added, int, 0400);

/* Adds units one by one for as long as it is to go on. */
static int adder(void *data)
{
	int count;

	for (count = 0; READ_ONCE(target_hold); count++) {
		spin_lock(&target_units_lock);
		target_add(1);
		spin_unlock(&target_units_lock);
		/* Most of the time nobody is inside. */
		usleep_range(500, 1000);
	}
	spin_lock(&target_units_lock);
	added += count;
	running--;
	spin_unlock(&target_units_lock);
	return 0;
}

/* Starts threads that add at the same time; `added` says how much it was. */
static int add_set(const char *text, const struct kernel_param *parameter)
{
	unsigned int i;

	added = 0;
	running = THREADS;
	for (i = 0; i < THREADS; i++)
		if (IS_ERR(kthread_run(adder, NULL, "adder")))
			return -ENOMEM;
	return 0;
}

static const struct kernel_param_ops add_ops = { .set = add_set };
module_param_cb(add, &add_ops, NULL, 0200);

static int one_set(const char *text, const struct kernel_param *parameter)
{
	int units, error = kstrtoint(text, 0, &units);

	if (error)
		return error;
	spin_lock(&target_units_lock);
	target_add(units);
	spin_unlock(&target_units_lock);
	return 0;
}

static int napper(void *data)
{
	target_nap();
	return 0;
}

static int nap_set(const char *text, const struct kernel_param *parameter)
{
	return PTR_ERR_OR_ZERO(kthread_run(napper, NULL, "napper"));
}

static const struct kernel_param_ops nap_ops = { .set = nap_set };
module_param_cb(nap, &nap_ops, NULL, 0200);

static int show_get(char *buffer, const struct kernel_param *parameter)
{
	return target_show(buffer);
}

static int spare_set(const char *text, const struct kernel_param *parameter)
{
	int units, error = kstrtoint(text, 0, &units);

	if (!error)
		target_spare_add(units);
	return error;
}

static int spare_get(char *buffer, const struct kernel_param *parameter)
{
	return target_spare_show(buffer);
}

static const struct kernel_param_ops spare_ops = { .set = spare_set, .get = spare_get };
module_param_cb(spare, &spare_ops, NULL, 0600);

/* Visits once. What is shown are visits and units as the old form has them. */
static int visit_set(const char *text, const struct kernel_param *parameter)
{
	WRITE_ONCE(target_pair.visits, target_pair.visits + 1);
	return 0;
}

static int visit_get(char *buffer, const struct kernel_param *parameter)
{
	return scnprintf(buffer, PAGE_SIZE, "%u %d\n",
			 READ_ONCE(target_pair.visits),
			 READ_ONCE(target_pair.units));
}

static const struct kernel_param_ops visit_ops = { .set = visit_set, .get = visit_get };
module_param_cb(visit, &visit_ops, NULL, 0600);

static const struct kernel_param_ops one_ops = { .set = one_set, .get = show_get };
module_param_cb(units, &one_ops, NULL, 0600);

/* The memory of the old form, which no patch replaces. */
static int raw_get(char *buffer, const struct kernel_param *parameter)
{
	struct target_thing *thing;
	int cpu, local = 0, length, i;

	for_each_possible_cpu(cpu)
		local += per_cpu(target_local, cpu);
	length = scnprintf(buffer, PAGE_SIZE, "%d %d", READ_ONCE(target_total),
			   local);
	for (i = 0; i < SLOTS; i++)
		length += scnprintf(buffer + length, PAGE_SIZE - length, " %d",
				    READ_ONCE(target_slots[i]));
	target_lock();
	list_for_each_entry(thing, &target_things, link)
		length += scnprintf(buffer + length, PAGE_SIZE - length,
				    " %d:%d", thing->number, thing->units);
	target_unlock();
	return length + scnprintf(buffer + length, PAGE_SIZE - length, "\n");
}

static const struct kernel_param_ops raw_ops = { .get = raw_get };
module_param_cb(raw, &raw_ops, NULL, 0400);

static int next_number;

/* Makes so many things. */
static int make_set(const char *text, const struct kernel_param *parameter)
{
	unsigned int count;
	int error = kstrtouint(text, 0, &count);

	while (!error && count--) {
		struct target_thing *thing = kzalloc(sizeof(*thing), GFP_KERNEL);

		if (!thing)
			return -ENOMEM;
		target_lock();
		thing->number = next_number++;
		list_add_tail(&thing->link, &target_things);
		target_unlock();
	}
	return error;
}

/* Frees the first so many. */
static int free_set(const char *text, const struct kernel_param *parameter)
{
	unsigned int count;
	int error = kstrtouint(text, 0, &count);

	while (!error && count--) {
		struct target_thing *thing;

		target_lock();
		thing = list_first_entry_or_null(&target_things,
						 struct target_thing, link);
		if (thing)
			list_del(&thing->link);
		target_unlock();
		if (thing)
			target_thing_free(thing);
	}
	return error;
}

/* Adds so many units to every thing. */
static int things_set(const char *text, const struct kernel_param *parameter)
{
	struct target_thing *thing;
	int units, error = kstrtoint(text, 0, &units);

	if (error)
		return error;
	target_lock();
	list_for_each_entry(thing, &target_things, link)
		target_thing_add(thing, units);
	target_unlock();
	return 0;
}

static int things_get(char *buffer, const struct kernel_param *parameter)
{
	struct target_thing *thing;
	int length = 0;

	target_lock();
	list_for_each_entry(thing, &target_things, link) {
		if (length)
			buffer[length++] = ' ';
		length += target_thing_show(thing, buffer + length);
	}
	target_unlock();
	return length + scnprintf(buffer + length, 2, "\n");
}

static const struct kernel_param_ops make_ops = { .set = make_set };
module_param_cb(make, &make_ops, NULL, 0200);
static const struct kernel_param_ops free_ops = { .set = free_set };
module_param_cb(free, &free_ops, NULL, 0200);
static const struct kernel_param_ops things_ops = { .set = things_set, .get = things_get };
module_param_cb(things, &things_ops, NULL, 0600);

static int __init target_init(void)
{
	return 0;
}

static void __exit target_exit(void)
{
	free_set("1000000", NULL);
}

module_init(target_init);
module_exit(target_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("data for patches to have in another form");
