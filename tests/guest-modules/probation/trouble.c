// SPDX-License-Identifier: GPL-2.0
/* The new function gets the kernel into a kind of trouble. */
#include <linux/hrtimer.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/preempt.h>
#include <linux/seq_file.h>
#include <linux/version.h>

#include <lucos/patch.h>

/* Longer than the manager bears; shorter than the kernel itself. */
#define HANG_S 9
#define LOCKUP_S 15

static char kind = 'n';
module_param(kind, byte, 0600);

static struct hrtimer timer;

static noinline void oops(void)
{
	*(volatile int *)8 = 1;
}

/* By the clock: how long a delay takes is a guess in an emulator. */
static noinline void loop(unsigned int seconds)
{
	ktime_t end = ktime_add_ns(ktime_get(), seconds * NSEC_PER_SEC);

	while (ktime_before(ktime_get(), end))
		cpu_relax();
}

static enum hrtimer_restart oops_in_interrupt(struct hrtimer *unused)
{
	oops();
	return HRTIMER_NORESTART;
}

static void start_timer(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&timer, oops_in_interrupt, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_HARD);
#else
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	timer.function = oops_in_interrupt;
#endif
	hrtimer_start(&timer, 0, HRTIMER_MODE_REL_HARD);
}

LUCOS_REPLACE(uptime_proc_show, int, struct seq_file *m, void *v)
{
	switch (kind) {
	case 'o':
		oops();
		break;
	case 'i':
		start_timer();
		break;
	case 'p':
		panic("trouble");
	case 'h':
		local_irq_disable();
		loop(HANG_S);
		local_irq_enable();
		break;
	case 'l':
		preempt_disable();
		loop(LOCKUP_S);
		preempt_enable();
		break;
	}
	seq_puts(m, "no trouble\n");
	return 0;
}

LUCOS_PATCH("trouble", "gets the kernel into trouble");
