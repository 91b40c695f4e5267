// SPDX-License-Identifier: GPL-2.0
/* Holding and releasing. */
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/percpu.h>
#include <linux/ptrace.h>
#include <linux/sched/task_stack.h>
#include <linux/timekeeping.h>

#include "hold.h"

/* Longer than a test takes, on a slow machine too. */
#define LONGEST_HOLD_NS (90 * NSEC_PER_SEC)

struct window_state window_state;

static bool is_over(u64 end)
{
	return window_is_released() || ktime_get_mono_fast_ns() > end;
}

static bool on_stack_of(const struct task_struct *thread, unsigned long address)
{
	return address - (unsigned long)task_stack_page(thread) < THREAD_SIZE;
}

static u64 begin(enum window_spot spot, const struct task_struct *thread,
		 unsigned long rip, unsigned long stack)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0);

	window_state.offset = rip - window_site(spot);
	window_state.cpu = raw_smp_processor_id();
	window_state.own_stack = on_stack_of(thread, stack);
	window_state.handler_on_own_stack = on_stack_of(thread, here);
	window_state.interrupts_on = !irqs_disabled();
	window_state.idle = is_idle_task(thread);
	window_state.running = thread == current;
	smp_store_release(&window_state.phase, PHASE_HELD);
	return ktime_get_mono_fast_ns() + LONGEST_HOLD_NS;
}

static void end(void)
{
	WRITE_ONCE(window_state.phase,
		   window_is_released() ? PHASE_RELEASED : PHASE_TOO_LONG);
}

void window_hold(enum window_spot spot, const struct task_struct *thread,
		 unsigned long rip, unsigned long stack)
{
	u64 deadline = begin(spot, thread, rip, stack);

	while (!is_over(deadline))
		cpu_relax();
	end();
}

void window_hold_asleep(enum window_spot spot, unsigned long rip,
			unsigned long stack)
{
	u64 deadline = begin(spot, current, rip, stack);

	while (!is_over(deadline))
		msleep(20);
	end();
}

bool window_is_released(void)
{
	return READ_ONCE(window_state.release);
}

bool window_was_held(void)
{
	return READ_ONCE(window_state.phase) > PHASE_TRYING;
}
