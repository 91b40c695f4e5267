// SPDX-License-Identifier: GPL-2.0
/*
 * Each interrupt is counted in a structure: in 64 bits, and with a reference value.
 *
 *	echo 1 >/sys/module/irqstat/parameters/since	from now on
 *	cat /sys/module/irqstat/parameters/since	interrupts since then, by number
 *
 * This is data in another form. The counts are per-CPU objects that come and go
 * with their interrupts, and interrupts come all the time: so old and new code
 * count at once for a while, and nothing may get lost.
 *
 * Every function of the kernel that counts, reads, or frees counts is replaced.
 * The sum over all processors (tot_count) stays where it is: its form is the
 * same for old and new code.
 */
#include <linux/interrupt.h>
#include <linux/kobject.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include <trace/events/irq.h>

#include <lucos/version.h>

#include "irqstat.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
typedef struct irqstat old_counts;
#define OLD_COUNT(old)	((old)->cnt)
#else
typedef unsigned int old_counts;
#define OLD_COUNT(old)	(*(old))
#endif

/* Of one interrupt on one processor. */
struct counts {
	u64 all;
	u64 reference;	/* what `all` was when somebody last asked for it */
};

static void walk(struct lucos_walk *walk)
{
	struct irq_desc *desc;
	unsigned int irq;

	for (irq = 0; irq < nr_irqs; irq++) {
		desc = irq_to_desc(irq);
		if (desc && desc->kstat_irqs)
			lucos_found(walk, (void __force *)desc->kstat_irqs);
	}
}

/* The old count is the lower half of the new one, which goes on where the old one overflows. */
LUCOS_CARRIED(irqstat, old_counts, struct counts, .lock = irq_lock_sparse,
	      .walk = walk, .unlock = irq_unlock_sparse, .per_cpu = true);
LUCOS_TO_NEW(irqstat) { new->all += (u32)(OLD_COUNT(old) - (u32)new->all); }
LUCOS_TO_OLD(irqstat) { OLD_COUNT(old) = new->all; }

static struct counts __percpu *find_counts(const struct irq_desc *desc)
{
	return (struct counts __percpu __force *)irqstat_find(
		(const old_counts __force *)desc->kstat_irqs);
}

/* NULL without memory, and while a rollback is under way: then the object counts. */
static struct counts __percpu *make_counts(const struct irq_desc *desc)
{
	return (struct counts __percpu __force *)irqstat(
		(old_counts __force *)desc->kstat_irqs, GFP_ATOMIC);
}

static void count_into(struct counts __percpu *counts, struct irq_desc *desc)
{
	if (likely(counts))
		__this_cpu_inc(counts->all);
	else
		__this_cpu_inc(OLD_COUNT(desc->kstat_irqs));
	__this_cpu_inc(kstat.irqs_sum);
}

/* An interrupt that may come on several processors at once. */
static void count_here(struct irq_desc *desc)
{
	count_into(make_counts(desc), desc);
}

/* Nothing can be made in an NMI. */
static void count_nmi(struct irq_desc *desc)
{
	count_into(find_counts(desc), desc);
}

/* With the interrupt's lock. */
static void count(struct irq_desc *desc)
{
	count_here(desc);
	desc->tot_count++;
}

/* In a section of readers. */
static u64 count_of(const struct irq_desc *desc, int cpu)
{
	struct counts __percpu *counts;

	if (!desc->kstat_irqs)
		return 0;
	counts = find_counts(desc);
	if (counts)
		return READ_ONCE(per_cpu_ptr(counts, cpu)->all);
	return READ_ONCE(OLD_COUNT(per_cpu_ptr(desc->kstat_irqs, cpu)));
}

static unsigned int sum_of(struct irq_desc *desc, const struct cpumask *cpus)
{
	unsigned int sum = 0;
	int cpu;

	if (!has_setting(desc, IRQ_PER_CPU | IRQ_PER_CPU_DEVID) &&
	    !(*state_of(desc) & STATE_NMI))
		return READ_ONCE(desc->tot_count);
	for_each_cpu(cpu, cpus)
		sum += count_of(desc, cpu);
	return sum;
}

/* Whether the handlers may be called: not while another processor does that. With the lock. */
static bool may_run(struct irq_desc *desc)
{
	if (!(*flags_of(desc) & (IRQD_IRQ_INPROGRESS | IRQD_WAKEUP_ARMED)))
		return true;
	if (irq_pm_check_wakeup(desc))
		return false;
	return *state_of(desc) & STATE_POLL_IN_PROGRESS && irq_wait_for_poll(desc);
}

static bool has_handler(struct irq_desc *desc)
{
	return desc->action && !irqd_irq_disabled(&desc->irq_data);
}

static void begin(struct irq_desc *desc)
{
	*state_of(desc) &= ~(STATE_REPLAY | STATE_WAITING);
}

/* Counts the interrupt if it has a handler; else it is pending. With the lock. */
static bool accept(struct irq_desc *desc)
{
	begin(desc);
	if (!has_handler(desc)) {
		*state_of(desc) |= STATE_PENDING;
		return false;
	}
	count(desc);
	return true;
}

static void mask_and_acknowledge(struct irq_desc *desc)
{
	struct irq_chip *chip = desc->irq_data.chip;

	if (chip->irq_mask_ack) {
		chip->irq_mask_ack(&desc->irq_data);
		*flags_of(desc) |= IRQD_IRQ_MASKED;
		return;
	}
	mask_irq(desc);
	if (chip->irq_ack)
		chip->irq_ack(&desc->irq_data);
}

static bool is_disabled_or_unmasked(struct irq_desc *desc)
{
	return irqd_irq_disabled(&desc->irq_data) ||
	       !irqd_irq_masked(&desc->irq_data);
}

/* Whether no thread is to unmask it. */
static bool is_to_be_unmasked(struct irq_desc *desc)
{
	return !is_disabled_or_unmasked(desc) && !desc->threads_oneshot;
}

LUCOS_REPLACE(handle_simple_irq, void, struct irq_desc *desc)
{
	raw_spin_lock(&desc->lock);
	if (may_run(desc) && accept(desc))
		handle_irq_event(desc);
	raw_spin_unlock(&desc->lock);
}

LUCOS_REPLACE(handle_level_irq, void, struct irq_desc *desc)
{
	raw_spin_lock(&desc->lock);
	mask_and_acknowledge(desc);
	if (may_run(desc) && accept(desc)) {
		handle_irq_event(desc);
		if (is_to_be_unmasked(desc))
			unmask_irq(desc);
	}
	raw_spin_unlock(&desc->lock);
}

/* Behind the handlers of an interrupt whose controller wants to know of its end. */
static void end_of_interrupt(struct irq_desc *desc)
{
	struct irq_chip *chip = desc->irq_data.chip;
	bool oneshot = *state_of(desc) & STATE_ONESHOT;
	bool unmask = oneshot && is_to_be_unmasked(desc);

	if (!oneshot || unmask || !(chip->flags & IRQCHIP_EOI_THREADED))
		chip->irq_eoi(&desc->irq_data);
	if (unmask)
		unmask_irq(desc);
}

static void run_fasteoi(struct irq_desc *desc)
{
	if (*state_of(desc) & STATE_ONESHOT)
		mask_irq(desc);
	handle_irq_event(desc);
	end_of_interrupt(desc);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	/* It came once more on a processor that it was moved to meanwhile. */
	if (*state_of(desc) & STATE_PENDING)
		check_irq_resend(desc, false);
#endif
}

/* True when the handlers are to be called. */
static bool accept_fasteoi(struct irq_desc *desc)
{
	if (!may_run(desc)) {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
		if (irqd_needs_resend_when_in_progress(&desc->irq_data))
			*state_of(desc) |= STATE_PENDING;
#endif
		return false;
	}
	if (accept(desc))
		return true;
	mask_irq(desc);
	return false;
}

LUCOS_REPLACE(handle_fasteoi_irq, void, struct irq_desc *desc)
{
	struct irq_chip *chip = desc->irq_data.chip;

	raw_spin_lock(&desc->lock);
	if (accept_fasteoi(desc))
		run_fasteoi(desc);
	else if (!(chip->flags & IRQCHIP_EOI_IF_HANDLED))
		chip->irq_eoi(&desc->irq_data);
	raw_spin_unlock(&desc->lock);
}

/* Calls the handlers for as long as the interrupt comes again meanwhile. */
static void run_edge(struct irq_desc *desc)
{
	desc->irq_data.chip->irq_ack(&desc->irq_data);
	do {
		if (!desc->action) {
			mask_irq(desc);
			return;
		}
		if (*state_of(desc) & STATE_PENDING &&
		    !is_disabled_or_unmasked(desc))
			unmask_irq(desc);
		handle_irq_event(desc);
	} while (*state_of(desc) & STATE_PENDING &&
		 !irqd_irq_disabled(&desc->irq_data));
}

LUCOS_REPLACE(handle_edge_irq, void, struct irq_desc *desc)
{
	raw_spin_lock(&desc->lock);
	begin(desc);
	if (may_run(desc) && has_handler(desc)) {
		count(desc);
		run_edge(desc);
	} else {
		*state_of(desc) |= STATE_PENDING;
		mask_and_acknowledge(desc);
	}
	raw_spin_unlock(&desc->lock);
}

static void run_nested(struct irq_desc *desc)
{
	irqreturn_t result = IRQ_NONE;
	struct irqaction *action;

	for (action = desc->action; action; action = action->next)
		result |= action->thread_fn(action->irq, action->dev_id);
	if (!has_setting(desc, IRQ_NO_DEBUG))
		note_interrupt(desc, result);
}

/* Whoever waits for the end of the interrupt waits for this thread. */
static void begin_nested(struct irq_desc *desc)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	atomic_inc(&desc->threads_active);
#else
	*flags_of(desc) |= IRQD_IRQ_INPROGRESS;
#endif
}

static void end_nested(struct irq_desc *desc)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	wake_threads_waitq(desc);
#else
	raw_spin_lock_irq(&desc->lock);
	*flags_of(desc) &= ~IRQD_IRQ_INPROGRESS;
	raw_spin_unlock_irq(&desc->lock);
#endif
}

LUCOS_REPLACE(handle_nested_irq, void, unsigned int irq)
{
	struct irq_desc *desc = irq_to_desc(irq);
	bool accepted;

	might_sleep();
	raw_spin_lock_irq(&desc->lock);
	accepted = accept(desc);
	if (accepted)
		begin_nested(desc);
	raw_spin_unlock_irq(&desc->lock);
	if (!accepted)
		return;
	run_nested(desc);
	end_nested(desc);
}

static void run_one(struct irq_desc *desc, void *device)
{
	unsigned int irq = irq_desc_get_irq(desc);
	struct irqaction *action = desc->action;
	irqreturn_t result;

	trace_irq_handler_entry(irq, action);
	result = action->handler(irq, device);
	trace_irq_handler_exit(irq, action, result);
}

static void acknowledge(struct irq_desc *desc)
{
	if (desc->irq_data.chip->irq_ack)
		desc->irq_data.chip->irq_ack(&desc->irq_data);
}

static void say_end(struct irq_desc *desc)
{
	if (desc->irq_data.chip->irq_eoi)
		desc->irq_data.chip->irq_eoi(&desc->irq_data);
}

LUCOS_REPLACE(handle_fasteoi_nmi, void, struct irq_desc *desc)
{
	count_nmi(desc);
	run_one(desc, desc->action->dev_id);
	say_end(desc);
}

LUCOS_REPLACE(handle_percpu_devid_fasteoi_nmi, void, struct irq_desc *desc)
{
	count_nmi(desc);
	run_one(desc, raw_cpu_ptr(desc->action->percpu_dev_id));
	say_end(desc);
}

LUCOS_REPLACE(handle_percpu_irq, void, struct irq_desc *desc)
{
	count_here(desc);
	acknowledge(desc);
	handle_irq_event_percpu(desc);
	say_end(desc);
}

static void disable_spurious(struct irq_desc *desc)
{
	unsigned int cpu = smp_processor_id();
	bool enabled = cpumask_test_cpu(cpu, desc->percpu_enabled);

	if (enabled)
		irq_percpu_disable(desc, cpu);
	pr_err_once("Spurious%s percpu IRQ%u on CPU%u\n",
		    enabled ? " and unmasked" : "", irq_desc_get_irq(desc), cpu);
}

LUCOS_REPLACE(handle_percpu_devid_irq, void, struct irq_desc *desc)
{
	count_here(desc);
	acknowledge(desc);
	if (desc->action)
		run_one(desc, raw_cpu_ptr(desc->action->percpu_dev_id));
	else
		disable_spurious(desc);
	say_end(desc);
}

LUCOS_REPLACE(handle_bad_irq, void, struct irq_desc *desc)
{
	unsigned int irq = irq_desc_get_irq(desc);

	pr_warn_ratelimited("irq %d, desc: %p, depth: %d, count: %d, unhandled: %d, handler %pS, chip %pS, settings %#x, state %#x\n",
			   irq, desc, desc->depth, desc->irq_count,
			   desc->irqs_unhandled, desc->handle_irq,
			   desc->irq_data.chip, desc->status_use_accessors,
			   *state_of(desc));
	count(desc);
	ack_bad_irq(irq);
}

LUCOS_REPLACE(kstat_incr_irq_this_cpu, void, unsigned int irq)
{
	count(irq_to_desc(irq));
}

LUCOS_REPLACE(kstat_irqs_cpu, unsigned int, unsigned int irq, int cpu)
{
	struct irq_desc *desc = irq_to_desc(irq);

	return desc ? count_of(desc, cpu) : 0;
}

LUCOS_REPLACE(kstat_irqs_usr, unsigned int, unsigned int irq)
{
	struct irq_desc *desc;
	unsigned int sum = 0;

	rcu_read_lock();
	desc = irq_to_desc(irq);
	if (desc && desc->kstat_irqs)
		sum = sum_of(desc, cpu_possible_mask);
	rcu_read_unlock();
	return sum;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
LUCOS_REPLACE(kstat_irqs_desc, unsigned int, struct irq_desc *desc,
	      const struct cpumask *cpus)
{
	return sum_of(desc, cpus);
}
#endif

/* The width of the first column of /proc/interrupts. */
static int width_of_numbers(void)
{
	int width = 3, numbers = 1000;

	for (; width < 10 && numbers <= nr_irqs; width++)
		numbers *= 10;
	return width;
}

static void show_head(struct seq_file *p, int width)
{
	int cpu;

	seq_printf(p, "%*s", width + 8, "");
	for_each_online_cpu(cpu)
		seq_printf(p, "CPU%-8d", cpu);
	seq_putc(p, '\n');
}

/* With the interrupt's lock. */
static void show_controller(struct seq_file *p, struct irq_desc *desc, int width)
{
	struct irq_chip *chip = desc->irq_data.chip;

	if (chip && chip->irq_print_chip)
		chip->irq_print_chip(&desc->irq_data, p);
	else if (chip)
		seq_printf(p, " %8s", chip->name ?: "-");
	else
		seq_printf(p, " %8s", "None");
	if (desc->irq_data.domain)
		seq_printf(p, " %*lu", width, desc->irq_data.hwirq);
	else
		seq_printf(p, " %*s", width, "");
#ifdef CONFIG_GENERIC_IRQ_SHOW_LEVEL
	seq_printf(p, " %-8s",
		   irqd_is_level_type(&desc->irq_data) ? "Level" : "Edge");
#endif
	if (desc->name)
		seq_printf(p, "-%-8s", desc->name);
}

/* With the interrupt's lock. */
static void show_handlers(struct seq_file *p, const struct irq_desc *desc)
{
	const struct irqaction *action;

	for (action = desc->action; action; action = action->next)
		seq_printf(p, "%s%s", action == desc->action ? "  " : ", ",
			   action->name);
	seq_putc(p, '\n');
}

/* Whether there is something to show of an interrupt. */
static bool is_shown(const struct irq_desc *desc)
{
	if (has_setting(desc, IRQ_HIDDEN))
		return false;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
	if (desc->kstat_irqs) {
		int cpu;

		for_each_online_cpu(cpu)
			if (count_of(desc, cpu))
				return true;
	}
	return desc->action && !is_chained(desc);
#else
	return desc->action && !is_chained(desc) && desc->kstat_irqs;
#endif
}

/* In a section of readers. */
static void show_interrupt(struct seq_file *p, struct irq_desc *desc, int width)
{
	unsigned long flags;
	int cpu;

	seq_printf(p, "%*d: ", width, irq_desc_get_irq(desc));
	for_each_online_cpu(cpu)
		seq_printf(p, "%10llu ", count_of(desc, cpu));
	raw_spin_lock_irqsave(&desc->lock, flags);
	show_controller(p, desc, width);
	show_handlers(p, desc);
	raw_spin_unlock_irqrestore(&desc->lock, flags);
}

LUCOS_REPLACE(show_interrupts, int, struct seq_file *p, void *v)
{
	int irq = *(loff_t *)v, width = width_of_numbers();
	struct irq_desc *desc;

	if (irq > nr_irqs)
		return 0;
	if (irq == nr_irqs)
		return arch_show_interrupts(p, width);
	if (!irq)
		show_head(p, width);
	rcu_read_lock();
	desc = irq_to_desc(irq);
	if (desc && is_shown(desc))
		show_interrupt(p, desc, width);
	rcu_read_unlock();
	return 0;
}

LUCOS_REPLACE(per_cpu_count_show, ssize_t, struct kobject *kobj,
	      struct kobj_attribute *attribute, char *buffer)
{
	struct irq_desc *desc = container_of(kobj, struct irq_desc, kobj);
	const char *separator = "";
	int cpu, length = 0;

	rcu_read_lock();
	for_each_possible_cpu(cpu) {
		length += sysfs_emit_at(buffer, length, "%s%llu", separator,
					count_of(desc, cpu));
		separator = ",";
	}
	rcu_read_unlock();
	return length + sysfs_emit_at(buffer, length, "\n");
}

LUCOS_REPLACE(irq_kobj_release, void, struct kobject *kobj)
{
	struct irq_desc *desc = container_of(kobj, struct irq_desc, kobj);

	irqstat_free((old_counts __force *)desc->kstat_irqs);
	free_cpumask_var(desc->pending_mask);
	free_cpumask_var(desc->irq_common_data.affinity);
	free_cpumask_var(desc->irq_common_data.effective_affinity);
	free_percpu(desc->kstat_irqs);
	kfree(desc);
}

static void take_reference(struct counts __percpu *counts)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct counts *here = per_cpu_ptr(counts, cpu);

		WRITE_ONCE(here->reference, READ_ONCE(here->all));
	}
}

static u64 since_reference(struct counts __percpu *counts)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct counts *here = per_cpu_ptr(counts, cpu);

		sum += READ_ONCE(here->all) - READ_ONCE(here->reference);
	}
	return sum;
}

static struct counts __percpu *find_counts_of(unsigned int irq)
{
	struct irq_desc *desc = irq_to_desc(irq);

	return desc && desc->kstat_irqs ? find_counts(desc) : NULL;
}

static int since_set(const char *text, const struct kernel_param *parameter)
{
	struct counts __percpu *counts;
	unsigned int irq;

	irq_lock_sparse();
	for (irq = 0; irq < nr_irqs; irq++) {
		counts = find_counts_of(irq);
		if (counts)
			take_reference(counts);
	}
	irq_unlock_sparse();
	return 0;
}

static int since_get(char *buffer, const struct kernel_param *parameter)
{
	struct counts __percpu *counts;
	unsigned int irq;
	int length = 0;
	u64 count;

	irq_lock_sparse();
	for (irq = 0; irq < nr_irqs; irq++) {
		counts = find_counts_of(irq);
		count = counts ? since_reference(counts) : 0;
		if (count)
			length += sysfs_emit_at(buffer, length, "%u %llu\n", irq,
						count);
	}
	irq_unlock_sparse();
	return length;
}

static const struct kernel_param_ops since_operations = {
	.set = since_set,
	.get = since_get,
};
module_param_cb(since, &since_operations, NULL, 0600);

LUCOS_PATCH("irqstat", "counts interrupts in 64 bits, with a reference value");
