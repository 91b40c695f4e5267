/* SPDX-License-Identifier: GPL-2.0 */
/* What the core of interrupts has for itself (kernel/irq), as far as irqstat.c needs it. */
#ifndef IRQSTAT_H
#define IRQSTAT_H

#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/kernel_stat.h>
#include <linux/version.h>

/* Bits of an interrupt's internal state. */
enum {
	STATE_POLL_IN_PROGRESS = 0x8,
	STATE_ONESHOT = 0x20,
	STATE_REPLAY = 0x40,
	STATE_WAITING = 0x80,
	STATE_PENDING = 0x200,
	STATE_NMI = 0x2000,
};

/* An interrupt whose handler is another interrupt controller's. */
extern struct irqaction chained_action;

void ack_bad_irq(unsigned int irq);
int check_irq_resend(struct irq_desc *desc, bool inject);
irqreturn_t handle_irq_event(struct irq_desc *desc);
irqreturn_t handle_irq_event_percpu(struct irq_desc *desc);
void irq_percpu_disable(struct irq_desc *desc, unsigned int cpu);
bool irq_pm_check_wakeup(struct irq_desc *desc);
bool irq_wait_for_poll(struct irq_desc *desc);
void mask_irq(struct irq_desc *desc);
void unmask_irq(struct irq_desc *desc);
void note_interrupt(struct irq_desc *desc, irqreturn_t result);
void wake_threads_waitq(struct irq_desc *desc);
int arch_show_interrupts(struct seq_file *p, int width);

static inline unsigned int *state_of(struct irq_desc *desc)
{
	return &desc->core_internal_state__do_not_mess_with_it;
}

static inline bool has_setting(const struct irq_desc *desc, unsigned int setting)
{
	return desc->status_use_accessors & setting;
}

static inline unsigned int *flags_of(struct irq_desc *desc)
{
	return &ACCESS_PRIVATE(desc->irq_data.common, state_use_accessors);
}

static inline bool is_chained(const struct irq_desc *desc)
{
	return desc->action == &chained_action;
}

#endif
