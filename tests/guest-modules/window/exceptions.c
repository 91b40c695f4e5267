// SPDX-License-Identifier: GPL-2.0
/* Threads that an exception or an NMI stops in the window. */
#include <linux/delay.h>
#include <linux/hw_breakpoint.h>
#include <linux/kdebug.h>
#include <linux/kthread.h>
#include <linux/perf_event.h>
#include <linux/vmalloc.h>

#include <asm/apic.h>
#include <asm/irq_vectors.h>
#include <asm/nmi.h>
#include <asm/trapnr.h>

#include "hold.h"

struct window_call window_fault_call;

long window_hold_fault(const struct window_order *order, unsigned long source)
{
	window_fault_call = (struct window_call) {
		.source = source,
		.user = true,
	};
	return window_call(SPOT_FAULT, order->number, &window_fault_call);
}

/* The function's own UD2; every call meets it. */
static int handle_opcode(struct notifier_block *block, unsigned long event,
			 void *data)
{
	struct die_args *args = data;
	struct pt_regs *regs = args->regs;

	if (event != DIE_TRAP || args->trapnr != X86_TRAP_UD ||
	    !window_is_inside(SPOT_OPCODE, regs->ip))
		return NOTIFY_DONE;
	if (window_state.phase == PHASE_TRYING &&
	    raw_smp_processor_id() == WINDOW_CPU) {
		local_irq_enable();
		window_hold(SPOT_OPCODE, current, regs->ip, regs->sp);
		local_irq_disable();
	}
	regs->ip += 2;
	return NOTIFY_STOP;
}

static struct notifier_block opcode_notifier = {
	.notifier_call = handle_opcode,
};

int window_opcode_start(void)
{
	return register_die_notifier(&opcode_notifier);
}

void window_opcode_stop(void)
{
	unregister_die_notifier(&opcode_notifier);
}

long window_hold_opcode(const struct window_order *order)
{
	struct window_call call = {};

	return window_call(SPOT_OPCODE, order->number, &call);
}

static void handle_breakpoint(struct perf_event *event,
			      struct perf_sample_data *data,
			      struct pt_regs *regs)
{
	if (window_state.phase == PHASE_TRYING &&
	    raw_smp_processor_id() == WINDOW_CPU &&
	    window_is_inside(SPOT_DEBUG, regs->ip))
		window_hold(SPOT_DEBUG, current, regs->ip, regs->sp);
}

long window_hold_debug(const struct window_order *order)
{
	struct perf_event * __percpu *breakpoint;
	struct perf_event_attr attributes;
	struct window_call call = {};
	long result;

	hw_breakpoint_init(&attributes);
	attributes.bp_addr = window_site(SPOT_DEBUG) + 2;
	attributes.bp_len = sizeof(long);
	attributes.bp_type = HW_BREAKPOINT_X;
	breakpoint = register_wide_hw_breakpoint(&attributes,
						 handle_breakpoint, NULL);
	if (IS_ERR((void __force *)breakpoint))
		return PTR_ERR((void __force *)breakpoint);
	result = window_call(SPOT_DEBUG, order->number, &call);
	unregister_wide_hw_breakpoint(breakpoint);
	return result;
}

/* What the function reads while it waits for the NMI. */
#define NMI_SOURCE_SIZE (64UL << 20)

static bool nmi_wanted;

static int handle_nmi(unsigned int type, struct pt_regs *regs)
{
	if (!READ_ONCE(nmi_wanted) || raw_smp_processor_id() != WINDOW_CPU)
		return NMI_DONE;
	if (!window_is_inside(SPOT_NMI, regs->ip))
		return NMI_DONE;
	WRITE_ONCE(nmi_wanted, false);
	window_hold(SPOT_NMI, current, regs->ip, regs->sp);
	return NMI_HANDLED;
}

/* Any processor but the one that is to be stopped. */
static int send_nmis(void *data)
{
	while (!kthread_should_stop()) {
		if (READ_ONCE(nmi_wanted))
			apic->send_IPI(WINDOW_CPU, NMI_VECTOR);
		msleep(20);
	}
	return 0;
}

static long call_under_nmis(const struct window_order *order, void *source)
{
	struct window_call call = { .source = (unsigned long)source };
	struct task_struct *sender;
	unsigned int i;
	long result;

	sender = kthread_create_on_cpu(send_nmis, NULL, 0, "window_nmi");
	if (IS_ERR(sender))
		return PTR_ERR(sender);
	kthread_unpark(sender);
	wake_up_process(sender);
	for (i = 0; i < 20 && !window_was_held(); i++) {
		call.count = NMI_SOURCE_SIZE;
		WRITE_ONCE(nmi_wanted, true);
		result = window_call(SPOT_NMI, order->number, &call);
		WRITE_ONCE(nmi_wanted, false);
	}
	kthread_stop(sender);
	return window_was_held() ? result : -EAGAIN;
}

long window_hold_nmi(const struct window_order *order)
{
	void *source = vzalloc(NMI_SOURCE_SIZE);
	long result;

	if (!source)
		return -ENOMEM;
	result = register_nmi_handler(NMI_LOCAL, handle_nmi, 0, "window");
	if (!result) {
		result = call_under_nmis(order, source);
		unregister_nmi_handler(NMI_LOCAL, "window");
	}
	vfree(source);
	return result;
}
