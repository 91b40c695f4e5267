// SPDX-License-Identifier: GPL-2.0
/*
 * Data on pages of its own: while it is guarded, whoever writes to such a page
 * writes to the data, and nobody else.
 *
 * Parameters: `add` adds units by the function that patches replace, `old_add` as
 * it is here, whatever replaces it; `make` and `free` so many things, `things`
 * adds units to each; `nap` has a thread in gauge_nap() until `gauge_hold` is 0.
 * `known` is what the code that runs knows, `raw` the memory of the old form.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>

#include "gauge_target.h"

union gauge_page gauge_page __aligned(PAGE_SIZE);
EXPORT_SYMBOL_GPL(gauge_page);

bool gauge_hold;
EXPORT_SYMBOL_GPL(gauge_hold);
module_param(gauge_hold, bool, 0600);

LIST_HEAD(gauge_things);
EXPORT_SYMBOL_GPL(gauge_things);
static DEFINE_MUTEX(things_lock);

void gauge_lock(void)
{
	mutex_lock(&things_lock);
}
EXPORT_SYMBOL_GPL(gauge_lock);

void gauge_unlock(void)
{
	mutex_unlock(&things_lock);
}
EXPORT_SYMBOL_GPL(gauge_unlock);

noinline void gauge_add(u32 units)
{
	gauge_page.value += units;
}
EXPORT_SYMBOL_GPL(gauge_add);

noinline u32 gauge_value(void)
{
	return READ_ONCE(gauge_page.value);
}
EXPORT_SYMBOL_GPL(gauge_value);

noinline const char *gauge_form(void)
{
	return "old";
}
EXPORT_SYMBOL_GPL(gauge_form);

noinline void gauge_nap(void)
{
	while (READ_ONCE(gauge_hold))
		msleep(20);
}
EXPORT_SYMBOL_GPL(gauge_nap);

noinline void gauge_thing_add(struct gauge_thing *thing, u32 units)
{
	thing->units += units;
}
EXPORT_SYMBOL_GPL(gauge_thing_add);

noinline u32 gauge_thing_units(struct gauge_thing *thing)
{
	return READ_ONCE(thing->units);
}
EXPORT_SYMBOL_GPL(gauge_thing_units);

noinline void gauge_thing_free(struct gauge_thing *thing)
{
	free_page((unsigned long)thing);
}
EXPORT_SYMBOL_GPL(gauge_thing_free);

static int parse(const char *text, unsigned int *count)
{
	return kstrtouint(text, 0, count);
}

static int add_set(const char *text, const struct kernel_param *parameter)
{
	unsigned int units;
	int error = parse(text, &units);

	if (!error)
		gauge_add(units);
	return error;
}

static const struct kernel_param_ops add_ops = { .set = add_set };
module_param_cb(add, &add_ops, NULL, 0200);

static int old_add_set(const char *text, const struct kernel_param *parameter)
{
	unsigned int units;
	int error = parse(text, &units);

	if (!error)
		gauge_page.value += units;
	return error;
}

static const struct kernel_param_ops old_add_ops = { .set = old_add_set };
module_param_cb(old_add, &old_add_ops, NULL, 0200);

static int make_set(const char *text, const struct kernel_param *parameter)
{
	unsigned int count;
	int error = parse(text, &count);

	while (!error && count--) {
		struct gauge_thing *thing =
			(struct gauge_thing *)get_zeroed_page(GFP_KERNEL);

		if (!thing)
			return -ENOMEM;
		gauge_lock();
		list_add_tail(&thing->link, &gauge_things);
		gauge_unlock();
	}
	return error;
}

static const struct kernel_param_ops make_ops = { .set = make_set };
module_param_cb(make, &make_ops, NULL, 0200);

/* The last ones first. */
static int free_set(const char *text, const struct kernel_param *parameter)
{
	unsigned int count;
	int error = parse(text, &count);

	while (!error && count--) {
		struct gauge_thing *thing = NULL;

		gauge_lock();
		if (!list_empty(&gauge_things)) {
			thing = list_last_entry(&gauge_things,
						struct gauge_thing, link);
			list_del(&thing->link);
		}
		gauge_unlock();
		if (!thing)
			break;
		gauge_thing_free(thing);
	}
	return error;
}

static const struct kernel_param_ops free_ops = { .set = free_set };
module_param_cb(free, &free_ops, NULL, 0200);

static int things_set(const char *text, const struct kernel_param *parameter)
{
	struct gauge_thing *thing;
	unsigned int units;
	int error = parse(text, &units);

	if (error)
		return error;
	gauge_lock();
	list_for_each_entry(thing, &gauge_things, link)
		gauge_thing_add(thing, units);
	gauge_unlock();
	return 0;
}

static const struct kernel_param_ops things_ops = { .set = things_set };
module_param_cb(things, &things_ops, NULL, 0200);

static u32 raw_units(struct gauge_thing *thing)
{
	return READ_ONCE(thing->units);
}

static int show(char *buffer, const char *form, u32 value,
		u32 (*units)(struct gauge_thing *thing))
{
	struct gauge_thing *thing;
	int length = scnprintf(buffer, PAGE_SIZE, "%s %u", form, value);

	gauge_lock();
	list_for_each_entry(thing, &gauge_things, link)
		length += scnprintf(buffer + length, PAGE_SIZE - length, " %u",
				    units(thing));
	gauge_unlock();
	return length + scnprintf(buffer + length, PAGE_SIZE - length, "\n");
}

static int known_get(char *buffer, const struct kernel_param *parameter)
{
	return show(buffer, gauge_form(), gauge_value(), gauge_thing_units);
}

static const struct kernel_param_ops known_ops = { .get = known_get };
module_param_cb(known, &known_ops, NULL, 0400);

static int raw_get(char *buffer, const struct kernel_param *parameter)
{
	return show(buffer, "raw", READ_ONCE(gauge_page.value), raw_units);
}

static const struct kernel_param_ops raw_ops = { .get = raw_get };
module_param_cb(raw, &raw_ops, NULL, 0400);

static int napper(void *data)
{
	gauge_nap();
	return 0;
}

static int nap_set(const char *text, const struct kernel_param *parameter)
{
	return PTR_ERR_OR_ZERO(kthread_run(napper, NULL, "napper"));
}

static const struct kernel_param_ops nap_ops = { .set = nap_set };
module_param_cb(nap, &nap_ops, NULL, 0200);

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
MODULE_DESCRIPTION("data on pages of its own");
