// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that an interrupt stops in the window. The interrupt is an IPI to
 * the own processor, sent with interrupts off: the function's STI lets it in.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/timer.h>

#include <trace/events/power.h>

#include "hold.h"

/* How often it is tried: an emulator may bring the interrupt late. */
#define TRIES 100

/* The call that is to be interrupted; used on one processor at a time. */
static struct window_order current_order;
static struct window_call current_call;
static struct task_struct *preempter;

static void handle_ipi(struct irq_work *work)
{
	enum window_spot spot = current_order.spot;
	unsigned long rip;

	if (window_was_held() ||
	    !window_is_interrupted_inside(spot, &current_call, &rip))
		return;
	if (spot == SPOT_PREEMPTED) {
		window_state.offset = rip - window_site(spot);
		wake_up_process(preempter);
		return;
	}
	local_irq_enable();
	window_hold(spot, current, rip, current_call.stack);
	local_irq_disable();
}

static DEFINE_IRQ_WORK(ipi, handle_ipi);

static void do_nothing(struct irq_work *work)
{
}

static DEFINE_IRQ_WORK(nothing, do_nothing);

/* Interrupts are off before and after. */
static unsigned long call_with_ipi(void)
{
	unsigned long result;

	irq_work_queue(&ipi);
	/* Until it has arrived at the local interrupt controller. */
	udelay(200);
	result = window_call(current_order.spot, current_order.number,
			     &current_call);
	local_irq_disable();
	return result;
}

static long try_here(void)
{
	unsigned int i;
	long result;

	for (i = 0; i < TRIES; i++) {
		local_irq_disable();
		result = call_with_ipi();
		local_irq_enable();
		if (window_was_held())
			return result;
		cond_resched();
	}
	return -EAGAIN;
}

static void give(const struct window_order *order)
{
	current_order = *order;
	memset(&current_call, 0, sizeof(current_call));
}

long window_hold_by_interrupt(const struct window_order *order)
{
	give(order);
	return try_here();
}

/* Runs in the place of the thread that it keeps from running. */
static int preempt_it(void *data)
{
	struct task_struct *victim = data;

	set_current_state(TASK_UNINTERRUPTIBLE);
	while (!window_state.offset && !kthread_should_stop()) {
		schedule();
		set_current_state(TASK_UNINTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	/* Still runnable: it was preempted. */
	if (window_state.offset && !READ_ONCE(victim->__state))
		window_hold(SPOT_PREEMPTED, victim,
			    window_site(SPOT_PREEMPTED) + window_state.offset,
			    current_call.stack);
	while (!kthread_should_stop())
		msleep(20);
	return 0;
}

long window_hold_preempted(const struct window_order *order)
{
	long result;

	give(order);
	preempter = kthread_create_on_cpu(preempt_it, current, WINDOW_CPU,
					  "window_preempter");
	if (IS_ERR(preempter))
		return PTR_ERR(preempter);
	kthread_unpark(preempter);
	sched_set_fifo(preempter);
	/* A little less, so that nothing else comes between. */
	sched_set_fifo_low(current);
	wake_up_process(preempter);
	msleep(50);
	result = try_here();
	sched_set_normal(current, 0);
	kthread_stop(preempter);
	return result;
}

/* Another thread than the caller is held; what its call gave. */
static DECLARE_COMPLETION(called);
static long other_result;

static void wait_for_other(void)
{
	wait_for_completion_timeout(&called, 120 * HZ);
}

/* In the idle thread, interrupts off. */
static void probe_idle(void *data, unsigned int state, unsigned int cpu)
{
	if (cpu != WINDOW_CPU || state == PWR_EVENT_EXIT || window_was_held())
		return;
	other_result = call_with_ipi();
	if (window_was_held())
		complete(&called);
	/* What became runnable meanwhile is noticed after an interrupt. */
	irq_work_queue(&nothing);
}

long window_hold_idle(const struct window_order *order)
{
	int error;

	give(order);
	reinit_completion(&called);
	other_result = -EAGAIN;
	error = register_trace_cpu_idle(probe_idle, NULL);
	if (error)
		return error;
	wait_for_other();
	unregister_trace_cpu_idle(probe_idle, NULL);
	tracepoint_synchronize_unregister();
	return other_result;
}

static void timer_expires(struct timer_list *timer)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0);
	unsigned long base = (unsigned long)task_stack_page(current);

	/* On the task's stack it runs when a thread does the softirqs. */
	if (here - base >= THREAD_SIZE) {
		local_irq_disable();
		other_result = call_with_ipi();
		local_irq_enable();
	}
	if (window_was_held())
		complete(&called);
	else
		mod_timer(timer, jiffies + 1);
}

static DEFINE_TIMER(timer, timer_expires);

long window_hold_softirq(const struct window_order *order)
{
	give(order);
	reinit_completion(&called);
	other_result = -EAGAIN;
	timer.expires = jiffies + 1;
	add_timer_on(&timer, WINDOW_CPU);
	wait_for_other();
	del_timer_sync(&timer);
	return other_result;
}
