/* SPDX-License-Identifier: GPL-2.0 */
/* What waiter_turn does: it stays until its thread shall end, or gives a number. */
#include <linux/kthread.h>
#include <linux/sched.h>

/* The function that is replaced. */
int waiter_turn(bool stay);

static inline int take_turn(bool stay, int answer)
{
	if (!stay)
		return answer;
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (kthread_should_stop())
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}
