// SPDX-License-Identifier: GPL-2.0
/*
 * Threads, softirqs, interrupts and NMIs of two processors write data at once, by
 * every kind of store: each by the function that patches replace, and by one that
 * writes the old form whatever comes.
 *
 * `rounds` N lets each of them write N times; `stores_hold` keeps a thread that
 * `stay` starts in the function that patches replace. `wrong` says how many cells
 * are not what they should be, as the code that runs sees them, and in the old
 * form; `counts` how often each context has written.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/smp.h>
#include <linux/version.h>

#include <asm/apic.h>
#include <asm/nmi.h>

#include "stores.h"

#define PROCESSORS 2
#define PERIOD_NS (2 * NSEC_PER_MSEC)

struct store_entry stores_entries[STORE_KINDS] __aligned(PAGE_SIZE);
EXPORT_SYMBOL_GPL(stores_entries);
struct store_pages stores_pages __aligned(PAGE_SIZE);
EXPORT_SYMBOL_GPL(stores_pages);
/* Behind the data, on pages of its own. */
u64 stores_counts[PAGE_SIZE / sizeof(u64)] __aligned(PAGE_SIZE);
EXPORT_SYMBOL_GPL(stores_counts);

bool stores_hold;
EXPORT_SYMBOL_GPL(stores_hold);
module_param(stores_hold, bool, 0600);

static u64 rounds;
static atomic_t nmis_wanted[PROCESSORS];
static struct hrtimer timers[PROCESSORS][2];

static void write_old(unsigned int writer, u64 n)
{
	unsigned int kind;

	for (kind = 0; kind < STORE_KINDS; kind++) {
		struct store_entry *entry = &stores_entries[kind];

		stores_write_own(kind, &entry->own[writer], n);
		stores_add_shared(kind, &entry->shared);
	}
	stores_add_across(stores_pages.number);
}

static unsigned int wrong_old(void)
{
	unsigned int kind, i, wrong = 0;
	u64 sum = 0;

	for (kind = 0; kind < STORE_KINDS; kind++) {
		const struct store_entry *entry = &stores_entries[kind];

		wrong += !stores_is(&entry->shared, stores_sum(kind));
		for (i = 0; i < STORE_WRITERS; i++)
			wrong += !stores_is(&entry->own[i],
					    stores_expected(kind,
							    stores_counts[i]));
	}
	for (i = 0; i < STORE_WRITERS; i++)
		sum += stores_counts[i];
	return wrong + (*(u64 *)stores_pages.number != sum);
}

noinline void stores_write(unsigned int writer, u64 n)
{
	write_old(writer, n);
}
EXPORT_SYMBOL_GPL(stores_write);

noinline unsigned int stores_wrong(void)
{
	return wrong_old();
}
EXPORT_SYMBOL_GPL(stores_wrong);

noinline void stores_stay(void)
{
	while (READ_ONCE(stores_hold))
		msleep(20);
}
EXPORT_SYMBOL_GPL(stores_stay);

static unsigned int writer_of(unsigned int cpu, enum store_context context,
			      bool replaced)
{
	return (cpu * STORE_CONTEXTS + context) * 2 + replaced;
}

/* Both forms, unless this context has done its part. Nobody else is this writer. */
static bool write_both(unsigned int cpu, enum store_context context)
{
	unsigned int old = writer_of(cpu, context, false);
	unsigned int new = writer_of(cpu, context, true);

	if (stores_counts[old] >= READ_ONCE(rounds))
		return false;
	write_old(old, ++stores_counts[old]);
	stores_write(new, ++stores_counts[new]);
	return true;
}

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	unsigned int cpu = smp_processor_id();
	bool hard = timer == &timers[cpu][0];

	if (!write_both(cpu, hard ? CONTEXT_INTERRUPT : CONTEXT_SOFTIRQ))
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, PERIOD_NS);
	return HRTIMER_RESTART;
}

static void start_timers(void *unused)
{
	unsigned int cpu = smp_processor_id();

	hrtimer_start(&timers[cpu][0], PERIOD_NS, HRTIMER_MODE_REL_PINNED_HARD);
	hrtimer_start(&timers[cpu][1], PERIOD_NS, HRTIMER_MODE_REL_PINNED_SOFT);
}

static int handle_nmi(unsigned int type, struct pt_regs *registers)
{
	unsigned int cpu = smp_processor_id();

	if (cpu >= PROCESSORS || !atomic_xchg(&nmis_wanted[cpu], 0))
		return NMI_DONE;
	write_both(cpu, CONTEXT_NMI);
	return NMI_HANDLED;
}

static bool is_done(void)
{
	unsigned int i;

	for (i = 0; i < STORE_WRITERS; i++)
		if (READ_ONCE(stores_counts[i]) < rounds)
			return false;
	return true;
}

/* Of two threads each asks for NMIs on the other processor. */
static int run(void *data)
{
	unsigned int cpu = (unsigned long)data, other = !cpu;

	smp_call_function_single(cpu, start_timers, NULL, 1);
	while (!is_done()) {
		write_both(cpu, CONTEXT_THREAD);
		if (stores_counts[writer_of(other, CONTEXT_NMI, true)] < rounds &&
		    !atomic_xchg(&nmis_wanted[other], 1))
			apic->send_IPI(other, NMI_VECTOR);
		usleep_range(500, 1000);
	}
	return 0;
}

static int rounds_set(const char *text, const struct kernel_param *parameter)
{
	unsigned long cpu;
	u64 more;
	int error = kstrtou64(text, 0, &more);

	if (error)
		return error;
	WRITE_ONCE(rounds, rounds + more);
	for (cpu = 0; cpu < PROCESSORS; cpu++) {
		struct task_struct *thread =
			kthread_create(run, (void *)cpu, "stores");

		if (IS_ERR(thread))
			return PTR_ERR(thread);
		kthread_bind(thread, cpu);
		wake_up_process(thread);
	}
	return 0;
}

static const struct kernel_param_ops rounds_ops = { .set = rounds_set };
module_param_cb(rounds, &rounds_ops, NULL, 0200);

static int counts_get(char *buffer, const struct kernel_param *parameter)
{
	unsigned int i;
	int length = 0;

	for (i = 0; i < STORE_WRITERS; i++)
		length += scnprintf(buffer + length, PAGE_SIZE - length,
				    "%llu ", READ_ONCE(stores_counts[i]));
	return length + scnprintf(buffer + length, PAGE_SIZE - length, "%s\n",
				  is_done() ? "done" : "writing");
}

static const struct kernel_param_ops counts_ops = { .get = counts_get };
module_param_cb(counts, &counts_ops, NULL, 0400);

static int wrong_get(char *buffer, const struct kernel_param *parameter)
{
	return scnprintf(buffer, PAGE_SIZE, "%u %u\n", stores_wrong(),
			 wrong_old());
}

static const struct kernel_param_ops wrong_ops = { .get = wrong_get };
module_param_cb(wrong, &wrong_ops, NULL, 0400);

/* A store that is lost, to see that it is found. */
static int spoil_set(const char *text, const struct kernel_param *parameter)
{
	stores_entries[STORE_XADD].shared.low--;
	return 0;
}

static const struct kernel_param_ops spoil_ops = { .set = spoil_set };
module_param_cb(spoil, &spoil_ops, NULL, 0200);

static int stay(void *unused)
{
	stores_stay();
	return 0;
}

static int stay_set(const char *text, const struct kernel_param *parameter)
{
	return PTR_ERR_OR_ZERO(kthread_run(stay, NULL, "stays"));
}

static const struct kernel_param_ops stay_ops = { .set = stay_set };
module_param_cb(stay, &stay_ops, NULL, 0200);

static void prepare(struct hrtimer *timer, enum hrtimer_mode mode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(timer, tick, CLOCK_MONOTONIC, mode);
#else
	hrtimer_init(timer, CLOCK_MONOTONIC, mode);
	timer->function = tick;
#endif
}

static int __init stores_init(void)
{
	unsigned int cpu;

	for (cpu = 0; cpu < PROCESSORS; cpu++) {
		prepare(&timers[cpu][0], HRTIMER_MODE_REL_PINNED_HARD);
		prepare(&timers[cpu][1], HRTIMER_MODE_REL_PINNED_SOFT);
	}
	return register_nmi_handler(NMI_LOCAL, handle_nmi, 0, "stores");
}

static void __exit stores_exit(void)
{
	unregister_nmi_handler(NMI_LOCAL, "stores");
}

module_init(stores_init);
module_exit(stores_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("every kind of store from every kind of context");
