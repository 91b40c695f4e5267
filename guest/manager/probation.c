// SPDX-License-Identifier: GPL-2.0
/*
 * Patches that are taken back by themselves when the kernel gets into trouble.
 *
 * Four things are taken for trouble: an oops, a panic, a processor that takes no
 * timer interrupts any more, and one that runs no other thread any more. For the
 * last two each processor has a timer that beats, asks for a work item of its own
 * processor, and looks at the beat of the next processor.
 *
 * Whoever sees trouble asks LUCOS to withdraw, in whatever context that is: under
 * no lock, with no memory, and perhaps as the last thing that this kernel does.
 * What follows of it is done by a worker, if one still runs.
 */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/atomic.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kdebug.h>
#include <linux/ktime.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/sched/clock.h>
#include <linux/smp.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#include <lucos/interface.h>

#include "nmi.h"
#include "probation.h"
#include "registration.h"
#include "registry.h"
#include "step.h"

/* Most patches that are on probation at once. */
#define MOST 32

/* How often timers beat, and how old a beat or a work item may become. */
#define BEAT_NS (NSEC_PER_SEC / 2)
#define HANG_NS (5 * NSEC_PER_SEC)
#define LOCKUP_NS (10 * NSEC_PER_SEC)

/* How often the worker looks whether something has changed. */
#define WATCH_MS 200

/* How often a withdrawal is tried, and the pause between. */
#define TRIES 200
#define PAUSE_US 500

/* A patch on probation. */
struct trial {
	atomic_t number;	/* what LUCOS calls it; 0: the place is free */
	u64 end;		/* of the monotonic clock, in nanoseconds */
};

static struct trial trials[MOST];

/* How many there are: nothing is watched without. */
static atomic_t count;

/* Why LUCOS was asked to withdraw, until the worker has seen to it; or 0. */
static atomic_t cause;

/* A patch is coming into force whose number is not known yet. */
static atomic_t coming;

/* The trouble that there was meanwhile, or 0. */
static atomic_t early_cause;

static void watch(struct work_struct *work);
static DECLARE_DELAYED_WORK(watch_work, watch);

/* The signs of life of one processor. */
struct beat {
	struct hrtimer timer;
	struct work_struct work;
	bool started;		/* the timer beats on its processor */
	u64 beaten;		/* when it did last */
	u64 worked;		/* when the work item ran last */
};

static DEFINE_PER_CPU(struct beat, beats);

/* Asks LUCOS until it has time. Any context. */
static bool withdraw(u32 number, enum lucos_cause why)
{
	struct lucos_failure failure;
	unsigned int tries;

	for (tries = 0; tries < TRIES; tries++) {
		struct lucos_registers registers = {
			.rcx = number,
			.rdx = why,
		};
		bool done;

		lucos_nmi_call_begins();
		done = lucos_registered_hypercall(LUCOS_CALL_WITHDRAW,
						  &registers, &failure);
		lucos_nmi_call_ends();
		if (done)
			return true;
		if (failure.code != LUCOS_ERROR_BUSY &&
		    failure.code != LUCOS_ERROR_DEADLINE)
			return false;
		udelay(PAUSE_US);
	}
	return false;
}

/* The kernel is in trouble. Any context; the latest patches go first. */
static void trouble(enum lucos_cause why)
{
	u32 before = U32_MAX;

	if (atomic_read(&coming))
		atomic_set(&early_cause, why);
	if (!atomic_read(&count))
		return;
	for (;;) {
		u32 latest = 0;
		unsigned int i;

		for (i = 0; i < MOST; i++) {
			u32 number = atomic_read(&trials[i].number);

			if (number < before)
				latest = max(latest, number);
		}
		if (!latest)
			return;
		before = latest;
		if (withdraw(latest, why))
			atomic_cmpxchg(&cause, 0, why);
	}
}

static int kernel_dies(struct notifier_block *block, unsigned long event,
		       void *data)
{
	if (event == DIE_OOPS)
		trouble(LUCOS_CAUSE_OOPS);
	return NOTIFY_DONE;
}

static struct notifier_block die_notifier = {
	.notifier_call = kernel_dies,
};

static int panic_begins(struct notifier_block *block, unsigned long event,
			void *data)
{
	trouble(LUCOS_CAUSE_PANIC);
	return NOTIFY_DONE;
}

static struct notifier_block panic_notifier = {
	.notifier_call = panic_begins,
	/* Before others, which may not come back. */
	.priority = INT_MAX,
};

static u64 now(void)
{
	return ktime_get_mono_fast_ns();
}

static bool is_old(u64 *stamp, u64 limit)
{
	u64 then = READ_ONCE(*stamp);

	/* Stamped meanwhile by its own processor, it can be ahead. */
	return (s64)(now() - then) > (s64)limit;
}

/* Looks after the next processor; there is none where only one is online. */
static void look_at_next(int cpu)
{
	int next = cpumask_next(cpu, cpu_online_mask);
	struct beat *beat;

	if (next >= nr_cpu_ids)
		next = cpumask_first(cpu_online_mask);
	beat = per_cpu_ptr(&beats, next);
	if (next != cpu && READ_ONCE(beat->started) &&
	    is_old(&beat->beaten, HANG_NS))
		trouble(LUCOS_CAUSE_HANG);
}

/* Runs on the processor itself, in interrupt context. */
static enum hrtimer_restart beat_once(struct hrtimer *timer)
{
	struct beat *beat = container_of(timer, struct beat, timer);
	int cpu = smp_processor_id();
	bool late;

	/* That of a processor that went off goes on elsewhere. */
	if (!atomic_read(&count) || beat != this_cpu_ptr(&beats)) {
		WRITE_ONCE(beat->started, false);
		return HRTIMER_NORESTART;
	}
	/* When the whole machine stood still, others have had no time either. */
	late = is_old(&beat->beaten, 2 * BEAT_NS);
	WRITE_ONCE(beat->beaten, now());
	if (!late) {
		look_at_next(cpu);
		if (is_old(&beat->worked, LOCKUP_NS))
			trouble(LUCOS_CAUSE_LOCKUP);
	}
	queue_work_on(cpu, system_highpri_wq, &beat->work);
	hrtimer_forward_now(timer, ns_to_ktime(BEAT_NS));
	return HRTIMER_RESTART;
}

/* Runs on the processor itself, in a thread. */
static void work_once(struct work_struct *work)
{
	struct beat *beat = container_of(work, struct beat, work);

	WRITE_ONCE(beat->worked, now());
	preempt_disable();
	if (atomic_read(&count) && !beat->started &&
	    beat == this_cpu_ptr(&beats)) {
		WRITE_ONCE(beat->beaten, now());
		WRITE_ONCE(beat->started, true);
		hrtimer_start(&beat->timer, ns_to_ktime(BEAT_NS),
			      HRTIMER_MODE_REL_PINNED_HARD);
	}
	preempt_enable();
}

/* Processors that are new, or whose timer ended, begin to beat. */
static void start_beats(void)
{
	int cpu;

	for_each_online_cpu(cpu) {
		struct beat *beat = per_cpu_ptr(&beats, cpu);

		if (!READ_ONCE(beat->started))
			queue_work_on(cpu, system_highpri_wq, &beat->work);
	}
}

/* Frees the places of those whose probation is over. */
static void end_trials(void)
{
	unsigned int i;

	for (i = 0; i < MOST; i++)
		if (atomic_read(&trials[i].number) && now() >= trials[i].end) {
			atomic_set(&trials[i].number, 0);
			atomic_dec(&count);
		}
}

static void watch(struct work_struct *work)
{
	u32 why;

	lucos_registry_lock();
	why = atomic_xchg(&cause, 0);
	if (why)
		lucos_step_withdrawn(why);
	end_trials();
	start_beats();
	if (atomic_read(&count))
		schedule_delayed_work(&watch_work, msecs_to_jiffies(WATCH_MS));
	lucos_registry_unlock();
}

bool lucos_probation_prepare(unsigned int wanted, struct lucos_failure *failure)
{
	if (atomic_read(&count) + wanted > MOST)
		return lucos_fail(failure, LUCOS_ERROR_TOO_MANY_PATCHES, NULL,
				  atomic_read(&count) + wanted);
	atomic_set(&early_cause, 0);
	atomic_set(&coming, 1);
	return true;
}

void lucos_probation_settle(void)
{
	u32 why;

	atomic_set(&coming, 0);
	why = atomic_xchg(&early_cause, 0);
	if (why)
		trouble(why);
}

static struct trial *find_trial(u32 number)
{
	unsigned int i;

	for (i = 0; i < MOST; i++)
		if (atomic_read(&trials[i].number) == number)
			return &trials[i];
	return NULL;
}

void lucos_probation_begin(const struct loaded_patch *loaded, u32 seconds)
{
	struct trial *trial = find_trial(0);

	if (!trial)
		return;
	trial->end = now() + seconds * NSEC_PER_SEC;
	atomic_inc(&count);
	atomic_set_release(&trial->number, loaded->number);
	start_beats();
	mod_delayed_work(system_wq, &watch_work, msecs_to_jiffies(WATCH_MS));
}

void lucos_probation_end(const struct loaded_patch *loaded)
{
	struct trial *trial = find_trial(loaded->number);

	if (!loaded->number || !trial)
		return;
	atomic_set(&trial->number, 0);
	atomic_dec(&count);
}

u32 lucos_probation_left(const struct loaded_patch *loaded)
{
	const struct trial *trial = find_trial(loaded->number);
	u64 time = now();

	if (!loaded->number || !trial || time >= trial->end)
		return 0;
	return DIV_ROUND_UP_ULL(trial->end - time, NSEC_PER_SEC);
}

static void make_beats(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct beat *beat = per_cpu_ptr(&beats, cpu);

		INIT_WORK(&beat->work, work_once);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
		hrtimer_setup(&beat->timer, beat_once, CLOCK_MONOTONIC,
			      HRTIMER_MODE_REL_PINNED_HARD);
#else
		hrtimer_init(&beat->timer, CLOCK_MONOTONIC,
			     HRTIMER_MODE_REL_PINNED_HARD);
		beat->timer.function = beat_once;
#endif
	}
}

int lucos_probation_start(void)
{
	int error;

	make_beats();
	error = register_die_notifier(&die_notifier);
	if (error)
		return error;
	error = atomic_notifier_chain_register(&panic_notifier_list,
					       &panic_notifier);
	if (error)
		unregister_die_notifier(&die_notifier);
	return error;
}

/* Nothing is on probation any more. */
void lucos_probation_stop(void)
{
	int cpu;

	atomic_notifier_chain_unregister(&panic_notifier_list, &panic_notifier);
	unregister_die_notifier(&die_notifier);
	cancel_delayed_work_sync(&watch_work);
	for_each_possible_cpu(cpu) {
		struct beat *beat = per_cpu_ptr(&beats, cpu);

		hrtimer_cancel(&beat->timer);
		cancel_work_sync(&beat->work);
		/* The work item starts the timer no more. */
		hrtimer_cancel(&beat->timer);
	}
}
