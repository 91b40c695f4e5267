// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/window. Written are:
 *
 *	hold SPOT NUMBER	hold a thread in the window of the spot, until
 *	release			ends that
 *	call SPOT NUMBER	call the function of the spot, holding nobody
 *
 * Read is what is known about the thread that is or was held, what the last
 * call gave, and the bytes at each site: a name, a blank and a value a line.
 */
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "hold.h"

/* One thread is held at a time. */
static DEFINE_MUTEX(hold_lock);
static DEFINE_MUTEX(call_lock);
static unsigned long called;
static struct page *page;

static const char *const phases[] = {
	[PHASE_NONE] = "none",
	[PHASE_TRYING] = "trying",
	[PHASE_HELD] = "held",
	[PHASE_RELEASED] = "released",
	[PHASE_TOO_LONG] = "too_long",
};

/* The first access to what was mapped sleeps while the thread is held. */
static vm_fault_t fault(struct vm_fault *vmf)
{
	unsigned long rip;

	if (window_state.phase == PHASE_TRYING &&
	    window_is_interrupted_inside(SPOT_FAULT, &window_fault_call, &rip))
		window_hold_asleep(SPOT_FAULT, rip, window_fault_call.stack);
	get_page(page);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct mapping_operations = {
	.fault = fault,
};

static int device_mmap(struct file *file, struct vm_area_struct *area)
{
	area->vm_ops = &mapping_operations;
	return 0;
}

static long hold_by_fault(struct file *file, const struct window_order *order)
{
	unsigned long address;
	long result;

	address = vm_mmap(file, 0, PAGE_SIZE, PROT_READ, MAP_SHARED, 0);
	if (IS_ERR_VALUE(address))
		return address;
	result = window_hold_fault(order, address);
	vm_munmap(address, PAGE_SIZE);
	return result;
}

static long hold_on_this_cpu(struct file *file,
			     const struct window_order *order)
{
	switch (order->spot) {
	case SPOT_INTERRUPT:
		return window_hold_by_interrupt(order);
	case SPOT_PREEMPTED:
		return window_hold_preempted(order);
	case SPOT_FAULT:
		return hold_by_fault(file, order);
	case SPOT_OPCODE:
		return window_hold_opcode(order);
	case SPOT_DEBUG:
		return window_hold_debug(order);
	case SPOT_NMI:
		return window_hold_nmi(order);
	default:
		return -EINVAL;
	}
}

static long hold(struct file *file, const struct window_order *order)
{
	cpumask_var_t before;
	long result;

	memset(&window_state, 0, sizeof(window_state));
	window_state.phase = PHASE_TRYING;
	if (order->spot == SPOT_IDLE)
		return window_hold_idle(order);
	if (order->spot == SPOT_SOFTIRQ)
		return window_hold_softirq(order);
	if (!alloc_cpumask_var(&before, GFP_KERNEL))
		return -ENOMEM;
	cpumask_copy(before, current->cpus_ptr);
	result = set_cpus_allowed_ptr(current, cpumask_of(WINDOW_CPU));
	if (!result)
		result = hold_on_this_cpu(file, order);
	set_cpus_allowed_ptr(current, before);
	free_cpumask_var(before);
	return result;
}

static void order_hold(struct file *file, const struct window_order *order)
{
	mutex_lock(&hold_lock);
	window_state.result = hold(file, order);
	smp_store_release(&window_state.done, true);
	mutex_unlock(&hold_lock);
}

static void order_call(const struct window_order *order)
{
	static const char one = WINDOW_OLD;
	struct window_call call = { .source = (unsigned long)&one };

	mutex_lock(&call_lock);
	called = window_call(order->spot, order->number, &call);
	mutex_unlock(&call_lock);
}

static int find_spot(const char *name)
{
	return match_string(window_names, SPOT_COUNT, name);
}

static ssize_t device_write(struct file *file, const char __user *data,
			    size_t length, loff_t *offset)
{
	char line[64], verb[16] = "", name[16] = "";
	struct window_order order = {};
	int spot;

	if (length >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, data, length))
		return -EFAULT;
	line[length] = '\0';
	if (sscanf(line, "%15s %15s %lu", verb, name, &order.number) == 1 &&
	    !strcmp(verb, "release")) {
		WRITE_ONCE(window_state.release, true);
		return length;
	}
	spot = find_spot(name);
	if (spot < 0)
		return -EINVAL;
	order.spot = spot;
	if (!strcmp(verb, "hold"))
		order_hold(file, &order);
	else if (!strcmp(verb, "call"))
		order_call(&order);
	else
		return -EINVAL;
	return length;
}

static ssize_t device_read(struct file *file, char __user *data, size_t length,
			   loff_t *offset)
{
	char text[1024];
	unsigned int i;
	int size;

	size = scnprintf(text, sizeof(text),
			 "phase %s\noffset %lu\ncpu %d\nown_stack %d\n"
			 "handler_on_own_stack %d\ninterrupts_on %d\n"
			 "running %d\nidle %d\ndone %d\nresult %ld\n"
			 "called %lu\n",
			 phases[READ_ONCE(window_state.phase)],
			 window_state.offset, window_state.cpu,
			 window_state.own_stack,
			 window_state.handler_on_own_stack,
			 window_state.interrupts_on, window_state.running,
			 window_state.idle,
			 smp_load_acquire(&window_state.done),
			 window_state.result, called);
	for (i = 0; i < SPOT_COUNT; i++)
		size += scnprintf(text + size, sizeof(text) - size,
				  "bytes_%s %*phN\n", window_names[i], 8,
				  (const void *)window_site(i));
	return simple_read_from_buffer(data, length, offset, text, size);
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.read = device_read,
	.write = device_write,
	.mmap = device_mmap,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "window",
	.fops = &operations,
	.mode = 0600,
};

static int __init window_init(void)
{
	int error = -ENOMEM;

	page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!page)
		return error;
	*(char *)page_address(page) = WINDOW_OLD;
	error = window_opcode_start();
	if (error)
		goto free;
	error = misc_register(&device);
	if (!error)
		return 0;
	window_opcode_stop();
free:
	__free_page(page);
	return error;
}

static void __exit window_exit(void)
{
	misc_deregister(&device);
	window_opcode_stop();
	__free_page(page);
}

module_init(window_init);
module_exit(window_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("holds threads in the windows of functions");
