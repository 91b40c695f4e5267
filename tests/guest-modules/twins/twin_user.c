// SPDX-License-Identifier: GPL-2.0
/*
 * Things of which a patch counts the events, in twins. Events come from
 * threads, and from a timer in interrupt context.
 */
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/version.h>

#include "twin_user.h"

#define THINGS 64
#define THREADS 2
#define TICKS 200

static struct thing things[THINGS];

atomic_t twin_user_made;
EXPORT_SYMBOL_GPL(twin_user_made);
atomic_t twin_user_dropped;
EXPORT_SYMBOL_GPL(twin_user_dropped);
atomic_t twin_user_counted;
EXPORT_SYMBOL_GPL(twin_user_counted);

static int made_get(char *text, const struct kernel_param *parameter)
{
	return sprintf(text, "made %d dropped %d counted %d\n",
		       atomic_read(&twin_user_made),
		       atomic_read(&twin_user_dropped),
		       atomic_read(&twin_user_counted));
}

static const struct kernel_param_ops twins_ops = { .get = made_get };
module_param_cb(twins, &twins_ops, NULL, 0400);

static bool hold;
module_param(hold, bool, 0600);

bool twin_user_holds(void)
{
	return READ_ONCE(hold);
}
EXPORT_SYMBOL_GPL(twin_user_holds);

noinline void twin_user_event(struct thing *thing)
{
	/* Something that the compiler cannot leave out. */
	asm volatile("" : : "r"(thing) : "memory");
}

noinline void twin_user_end(struct thing *thing)
{
	asm volatile("" : : "r"(thing) : "memory");
}

noinline void twin_user_sleep(void)
{
	asm volatile("" : : : "memory");
}

static atomic_t left;
static DECLARE_COMPLETION(done);

static void finish(void)
{
	if (atomic_dec_and_test(&left))
		complete(&done);
}

static int events;

static int thread(void *unused)
{
	int i;

	for (i = 0; i < events; i++)
		twin_user_event(&things[i % THINGS]);
	finish();
	return 0;
}

static struct hrtimer timer;
static int ticks;

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	int i;

	for (i = 0; i < THINGS; i++)
		twin_user_event(&things[i]);
	if (++ticks == TICKS) {
		finish();
		return HRTIMER_NORESTART;
	}
	hrtimer_forward_now(timer, 100 * NSEC_PER_USEC);
	return HRTIMER_RESTART;
}

/* Makes so many events in each thread, and some in interrupts; says how many it were. */
static int run(const char *text, const struct kernel_param *parameter)
{
	int i, error = kstrtoint(text, 0, &events);

	if (error || events < 0)
		return error ?: -EINVAL;
	reinit_completion(&done);
	atomic_set(&left, THREADS + 1);
	ticks = 0;
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	timer.function = tick;
	hrtimer_start(&timer, 0, HRTIMER_MODE_REL_HARD);
	for (i = 0; i < THREADS; i++)
		if (IS_ERR(kthread_run(thread, NULL, "twin_user")))
			finish();
	wait_for_completion(&done);
	hrtimer_cancel(&timer);
	return 0;
}

static const struct kernel_param_ops run_ops = { .set = run };
module_param_cb(run, &run_ops, NULL, 0200);

/* All things go. */
static int end(const char *text, const struct kernel_param *parameter)
{
	int i;

	for (i = 0; i < THINGS; i++)
		twin_user_end(&things[i]);
	return 0;
}

static const struct kernel_param_ops end_ops = { .set = end };
module_param_cb(end, &end_ops, NULL, 0200);

static int sleeper(void *unused)
{
	twin_user_sleep();
	return 0;
}

/* A thread sleeps in the patch. */
static int nap(const char *text, const struct kernel_param *parameter)
{
	return PTR_ERR_OR_ZERO(kthread_run(sleeper, NULL, "napper"));
}

static const struct kernel_param_ops nap_ops = { .set = nap };
module_param_cb(nap, &nap_ops, NULL, 0200);

static int __init start(void)
{
	int i;

	for (i = 0; i < THINGS; i++)
		things[i].number = i;
	return 0;
}
module_init(start);

static void __exit stop(void)
{
}
module_exit(stop);

MODULE_DESCRIPTION("Things with events");
MODULE_LICENSE("GPL");
