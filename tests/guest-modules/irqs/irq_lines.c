// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts whose true number is known: timers raise them, and their handlers
 * count. Each processor has one of each kind, and all share a per-CPU one.
 *
 *	period	microseconds from one time to the next on each processor; 0: never
 *	handled	lines `IRQ COUNT...`, with a count for each processor: how often
 *		the handler has been called there
 *	nest	starts a thread that stays in the handler of a nested interrupt
 *	stand	on processor 1 the handler of a simple interrupt stands, with
 *		interrupts on, until the function that called it is replaced, and
 *		for so many milliseconds more
 *	leave	whoever stays or stands leaves
 *	inside	how many do
 *	renew	frees all interrupts of one kind, and makes new ones
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/string.h>

/* The kinds of which each processor has one. */
enum kind { SIMPLE, LEVEL, FASTEOI, EDGE, KINDS };

/* Not exported. */
void handle_percpu_devid_irq(struct irq_desc *desc);
int irq_set_percpu_devid(unsigned int irq);

static unsigned int lines[KINDS][NR_CPUS];
static unsigned int shared, nested;

/* How often handlers were called, on the processor where they were. */
static DEFINE_PER_CPU(u32[KINDS], handled);
static DEFINE_PER_CPU(u32, handled_shared);

static DEFINE_PER_CPU(struct hrtimer, timers);
static DEFINE_PER_CPU(bool, stands);
static unsigned int period;
static unsigned int stand;
static atomic_t inside;
static bool left;

static void nothing(struct irq_data *data)
{
}

static struct irq_chip chip = {
	.name = "lines",
	.irq_ack = nothing,
	.irq_mask = nothing,
	.irq_unmask = nothing,
	.irq_eoi = nothing,
};

static const irq_flow_handler_t flows[KINDS] = {
	[SIMPLE] = handle_simple_irq,
	[LEVEL] = handle_level_irq,
	[FASTEOI] = handle_fasteoi_irq,
	[EDGE] = handle_edge_irq,
};

/* Longer than any update takes. */
#define PATIENCE_MS 60000

/* What stood at the beginning of a function. */
static u8 first_bytes[16];

static void stay(unsigned int milliseconds)
{
	u64 end = ktime_get_ns() + PATIENCE_MS * NSEC_PER_MSEC;

	atomic_inc(&inside);
	local_irq_enable();
	while (!memcmp(first_bytes, handle_simple_irq, sizeof(first_bytes)) &&
	       ktime_get_ns() < end)
		cpu_relax();
	mdelay(milliseconds);
	local_irq_disable();
	atomic_dec(&inside);
}

static irqreturn_t handle(int irq, void *kind)
{
	this_cpu_inc(handled[(unsigned long)kind]);
	if (__this_cpu_xchg(stands, false))
		stay(stand);
	return IRQ_HANDLED;
}

static irqreturn_t handle_shared(int irq, void *count)
{
	this_cpu_inc(handled_shared);
	return IRQ_HANDLED;
}

static irqreturn_t sleep_in_thread(int irq, void *unused)
{
	atomic_inc(&inside);
	while (!READ_ONCE(left))
		msleep(20);
	atomic_dec(&inside);
	return IRQ_HANDLED;
}

/* In an interrupt of the processor. */
static enum hrtimer_restart tick(struct hrtimer *timer)
{
	unsigned int kind, every = READ_ONCE(period);

	for (kind = 0; kind < KINDS; kind++)
		generic_handle_irq(READ_ONCE(lines[kind][smp_processor_id()]));
	generic_handle_irq(shared);
	if (!every)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, (u64)every * NSEC_PER_USEC);
	return HRTIMER_RESTART;
}

static void start_timer(void *unused)
{
	struct hrtimer *timer = this_cpu_ptr(&timers);

	hrtimer_init(timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	timer->function = tick;
	hrtimer_start(timer, (u64)READ_ONCE(period) * NSEC_PER_USEC,
		      HRTIMER_MODE_REL_PINNED_HARD);
}

static DEFINE_MUTEX(lock);

static void stop_timers(void)
{
	int cpu;

	WRITE_ONCE(period, 0);
	for_each_online_cpu(cpu)
		if (per_cpu(timers, cpu).function)
			hrtimer_cancel(&per_cpu(timers, cpu));
}

/* With the lock. */
static void run_timers(unsigned int every)
{
	stop_timers();
	WRITE_ONCE(period, every);
	if (every)
		on_each_cpu(start_timer, NULL, true);
}

static int period_set(const char *text, const struct kernel_param *parameter)
{
	unsigned int every;
	int error = kstrtouint(text, 0, &every);

	if (error)
		return error;
	mutex_lock(&lock);
	run_timers(every);
	mutex_unlock(&lock);
	return 0;
}

/* Gives the number of an interrupt, or an error. */
static int make_line(irq_flow_handler_t flow)
{
	int irq = irq_alloc_desc(NUMA_NO_NODE);

	if (irq < 0)
		return irq;
	irq_set_chip_and_handler(irq, &chip, flow);
	irq_modify_status(irq, IRQ_NOREQUEST, IRQ_NOPROBE);
	return irq;
}

static int make_kind(unsigned int kind)
{
	int cpu, irq, error;

	for_each_online_cpu(cpu) {
		irq = make_line(flows[kind]);
		if (irq < 0)
			return irq;
		WRITE_ONCE(lines[kind][cpu], irq);
		error = request_irq(irq, handle, IRQF_NO_THREAD, "lines",
				    (void *)(unsigned long)kind);
		if (error)
			return error;
	}
	return 0;
}

static void free_line(unsigned int *irq, void *cookie)
{
	if (!*irq)
		return;
	free_irq(*irq, cookie);
	irq_free_desc(*irq);
	*irq = 0;
}

static void free_kind(unsigned int kind)
{
	int cpu;

	for_each_online_cpu(cpu)
		free_line(&lines[kind][cpu], (void *)(unsigned long)kind);
}

static int make_shared(void)
{
	int error, irq = irq_alloc_desc(NUMA_NO_NODE);

	if (irq < 0)
		return irq;
	error = irq_set_percpu_devid(irq);
	if (error)
		return error;
	irq_set_chip_and_handler(irq, &chip, handle_percpu_devid_irq);
	irq_modify_status(irq, IRQ_NOREQUEST, IRQ_NOPROBE);
	shared = irq;
	return request_percpu_irq(irq, handle_shared, "lines", &handled_shared);
}

static int make_nested(void)
{
	int irq = make_line(handle_simple_irq);

	if (irq < 0)
		return irq;
	nested = irq;
	irq_modify_status(irq, 0, IRQ_NESTED_THREAD);
	return request_threaded_irq(irq, NULL, sleep_in_thread, IRQF_ONESHOT,
				    "lines", &nested);
}

/* The new interrupts have handled none; the sum of all that is known goes on. */
static int renew_set(const char *text, const struct kernel_param *parameter)
{
	unsigned int every = period, kind;
	int cpu, error = kstrtouint(text, 0, &kind);

	if (error || kind >= KINDS)
		return error ?: -EINVAL;
	mutex_lock(&lock);
	stop_timers();
	free_kind(kind);
	for_each_online_cpu(cpu)
		per_cpu(handled, cpu)[kind] = 0;
	error = make_kind(kind);
	if (!error)
		run_timers(every);
	mutex_unlock(&lock);
	return error;
}

static int show_line(char *buffer, int length, unsigned int irq, u32 __percpu *count,
		     int only)
{
	int cpu, start = length;

	length += sysfs_emit_at(buffer, length, "%u", irq);
	for_each_online_cpu(cpu)
		length += sysfs_emit_at(buffer, length, " %u",
					only < 0 || only == cpu ?
						READ_ONCE(*per_cpu_ptr(count, cpu)) :
						0);
	return length + sysfs_emit_at(buffer, length, "\n") - start;
}

static int handled_get(char *buffer, const struct kernel_param *parameter)
{
	unsigned int kind;
	int cpu, length = 0;

	mutex_lock(&lock);
	for (kind = 0; kind < KINDS; kind++)
		for_each_online_cpu(cpu)
			length += show_line(buffer, length, lines[kind][cpu],
					    &handled[kind], cpu);
	length += show_line(buffer, length, shared, &handled_shared, -1);
	mutex_unlock(&lock);
	return length;
}

static int run_nested(void *unused)
{
	handle_nested_irq(nested);
	return 0;
}

static int nest_set(const char *text, const struct kernel_param *parameter)
{
	WRITE_ONCE(left, false);
	return PTR_ERR_OR_ZERO(kthread_run(run_nested, NULL, "nested"));
}

static void raise_simple(struct irq_work *work)
{
	__this_cpu_write(stands, true);
	generic_handle_irq(READ_ONCE(lines[SIMPLE][smp_processor_id()]));
	__this_cpu_write(stands, false);
}

static struct irq_work raiser = IRQ_WORK_INIT_HARD(raise_simple);

static int run_stand(void *unused)
{
	irq_work_queue(&raiser);
	irq_work_sync(&raiser);
	return 0;
}

/* By a thread: who writes a parameter holds a lock that readers want. */
static int stand_set(const char *text, const struct kernel_param *parameter)
{
	struct task_struct *thread;
	int error = kstrtouint(text, 0, &stand);

	if (error)
		return error;
	memcpy(first_bytes, handle_simple_irq, sizeof(first_bytes));
	thread = kthread_create(run_stand, NULL, "stands");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	kthread_bind(thread, 1);
	wake_up_process(thread);
	return 0;
}

static int leave_set(const char *text, const struct kernel_param *parameter)
{
	WRITE_ONCE(left, true);
	return 0;
}

static int inside_get(char *buffer, const struct kernel_param *parameter)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&inside));
}

static const struct kernel_param_ops period_ops = { .set = period_set };
module_param_cb(period, &period_ops, NULL, 0200);
static const struct kernel_param_ops handled_ops = { .get = handled_get };
module_param_cb(handled, &handled_ops, NULL, 0400);
static const struct kernel_param_ops nest_ops = { .set = nest_set };
module_param_cb(nest, &nest_ops, NULL, 0200);
static const struct kernel_param_ops stand_ops = { .set = stand_set };
module_param_cb(stand, &stand_ops, NULL, 0200);
static const struct kernel_param_ops leave_ops = { .set = leave_set };
module_param_cb(leave, &leave_ops, NULL, 0200);
static const struct kernel_param_ops inside_ops = { .get = inside_get };
module_param_cb(inside, &inside_ops, NULL, 0400);
static const struct kernel_param_ops renew_ops = { .set = renew_set };
module_param_cb(renew, &renew_ops, NULL, 0200);

static void enable_shared(void *unused)
{
	enable_percpu_irq(shared, IRQ_TYPE_NONE);
}

static void disable_shared(void *unused)
{
	disable_percpu_irq(shared);
}

static int __init lines_init(void)
{
	unsigned int kind;
	int error = 0;

	for (kind = 0; !error && kind < KINDS; kind++)
		error = make_kind(kind);
	error = error ?: make_nested();
	error = error ?: make_shared();
	if (!error)
		on_each_cpu(enable_shared, NULL, true);
	/* A machine that cannot make them ends its test: nothing is given back. */
	return error;
}

static void __exit lines_exit(void)
{
	unsigned int kind;

	mutex_lock(&lock);
	stop_timers();
	for (kind = 0; kind < KINDS; kind++)
		free_kind(kind);
	free_line(&nested, &nested);
	on_each_cpu(disable_shared, NULL, true);
	free_percpu_irq(shared, &handled_shared);
	irq_free_desc(shared);
	mutex_unlock(&lock);
}

module_init(lines_init);
module_exit(lines_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("interrupts whose number is known");
