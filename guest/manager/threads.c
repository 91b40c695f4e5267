// SPDX-License-Identifier: GPL-2.0
/*
 * The search for threads that stand in, or return to, given code.
 *
 * Nobody can enter the ranges any more when the search begins, so it is enough
 * to see each thread outside at one instant; the instants may differ.
 *
 * - A thread that does not run: every word from its stack pointer to the top
 *   of its stack, and the return addresses that tracers keep elsewhere. The
 *   look counts only if the thread neither ran nor was switched meanwhile.
 *   What is found may be a stale word; the kernel's unwinder decides, where it
 *   vouches for the whole stack.
 * - A thread that runs: an interrupt to its processor, which looks at its own
 *   stacks. The interrupt arrives only with interrupts on, and the exception
 *   stacks (NMI, #DB, #DF, #MC) are used only with interrupts off, so at that
 *   instant they are empty. A thread that was interrupted there is seen with
 *   its registers on the task or interrupt stack.
 * - A thread on its way out of the kernel is no longer in the list: every
 *   processor is asked what runs there, and an RCU-tasks grace period waits for
 *   those that do not run.
 * - Idle threads of processors that are off are looked at in full.
 */
#include <linux/cpu.h>
#include <linux/ftrace.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/rethook.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/version.h>

#include <asm/processor.h>

#include "symbols.h"
#include "threads.h"

/* How often one thread is looked at before it counts as being everywhere. */
#define MAX_LOOKS 100

/* Frames that the unwinder can give; a deeper stack counts as unreliable. */
#define MAX_FRAMES 128

/* One look at one thread or processor. */
struct look {
	const struct lucos_search *search;
	unsigned long low;	/* the lowest start of a range */
	unsigned long high;	/* the highest end of a range */
	struct task_struct *self;	/* the searching thread */
	unsigned long self_frame;	/* where its own stack becomes innocent */
	struct task_struct *target;	/* thread that should run, or NULL */
	bool seen;		/* the target did run */
	DECLARE_BITMAP(found, LUCOS_MAX_RANGES);
};

static void note_word(struct look *look, unsigned long word)
{
	const struct lucos_search *search = look->search;
	unsigned int i;

	if (word < look->low || word >= look->high)
		return;
	for (i = 0; i < search->count; i++)
		if (word >= search->ranges[i].start &&
		    word < search->ranges[i].end)
			__set_bit(i, look->found);
}

static void note_stack(struct look *look, unsigned long from, unsigned long to)
{
	from = ALIGN(from, sizeof(long));
	for (; from < to; from += sizeof(long))
		note_word(look, READ_ONCE_NOCHECK(*(unsigned long *)from));
}

/* Return addresses that function_graph and kretprobes took off the stack. */
static void note_kept_returns(struct look *look, struct task_struct *task)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	struct ftrace_ret_stack *kept;
	int i;

	for (i = 0; ; i++) {
		kept = lucos_symbols.ftrace_graph_get_ret_stack(task, i);
		if (!kept)
			break;
		note_word(look, kept->ret);
	}
#endif
#ifdef CONFIG_RETHOOK
	{
		struct rethook_node *node;

		llist_for_each_entry(node, READ_ONCE(task->rethooks.first),
				     llist)
			note_word(look, READ_ONCE(node->ret_addr));
	}
#endif
}

static unsigned long stack_base(struct task_struct *task)
{
	return (unsigned long)task_stack_page(task);
}

static bool on_task_stack(struct task_struct *task, unsigned long address)
{
	return address >= stack_base(task) &&
	       address < stack_base(task) + THREAD_SIZE;
}

/* The last word of this processor's interrupt stack. */
static unsigned long interrupt_stack_top(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0) && \
	LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	return (unsigned long)this_cpu_read(pcpu_hot.hardirq_stack_ptr);
#else
	unsigned long *place = (unsigned long *)
		((unsigned long)lucos_symbols.hardirq_stack_ptr +
		 this_cpu_read(this_cpu_off));

	return *place;
#endif
}

/* The stacks of this processor from `frame` on; interrupts are off. */
static void note_own_stacks(struct look *look, unsigned long frame)
{
	unsigned long stack_end = stack_base(current) + THREAD_SIZE;
	unsigned long top = interrupt_stack_top();
	unsigned long task_sp = frame;

	if (current == look->self) {
		note_stack(look, look->self_frame, stack_end);
		return;
	}
	if (!on_task_stack(current, frame)) {
		if (frame > top || top - frame >= IRQ_STACK_SIZE) {
			/* On a stack that is unknown here. */
			bitmap_fill(look->found, look->search->count);
			return;
		}
		/* The last word says where the interrupted stack goes on. */
		note_stack(look, frame, top);
		task_sp = READ_ONCE_NOCHECK(*(unsigned long *)top);
		if (!on_task_stack(current, task_sp))
			task_sp = stack_base(current);
	}
	note_stack(look, task_sp, stack_end);
}

/* Runs on the processor that is looked at, in interrupt context. */
static noinline void look_at_processor(void *data)
{
	struct look *look = data;

	if (look->target && look->target != current)
		return;
	look->seen = true;
	note_own_stacks(look, (unsigned long)__builtin_frame_address(0));
	note_kept_returns(look, current);
}

/* Takes back what the unwinder knows to be stale. */
static void drop_stale(struct look *look, struct task_struct *task,
		       unsigned long *frames)
{
	DECLARE_BITMAP(stale, LUCOS_MAX_RANGES);
	int count, i;

	if (bitmap_empty(look->found, LUCOS_MAX_RANGES))
		return;
	count = lucos_symbols.stack_trace_save_tsk_reliable(task, frames,
							    MAX_FRAMES);
	if (count < 0 || count >= MAX_FRAMES)
		return;
	bitmap_copy(stale, look->found, LUCOS_MAX_RANGES);
	bitmap_zero(look->found, LUCOS_MAX_RANGES);
	for (i = 0; i < count; i++)
		note_word(look, frames[i]);
	bitmap_or(look->found, look->found, look->search->published,
		  LUCOS_MAX_RANGES);
	/* Only what the scan saw too: the unwinder adds nothing. */
	bitmap_and(look->found, look->found, stale, LUCOS_MAX_RANGES);
}

static unsigned long switches(const struct task_struct *task)
{
	return READ_ONCE(task->nvcsw) + READ_ONCE(task->nivcsw);
}

/* Looks at a thread that does not run; false when it ran meanwhile. */
static bool look_at_sleeper(struct look *look, struct task_struct *task,
			    unsigned long *frames)
{
	unsigned long before = switches(task);
	unsigned long sp;

	smp_rmb();
	if (smp_load_acquire(&task->on_cpu))
		return false;
	sp = READ_ONCE(task->thread.sp);
	if (!on_task_stack(task, sp))
		return false;
	note_stack(look, sp, stack_base(task) + THREAD_SIZE);
	note_kept_returns(look, task);
	drop_stale(look, task, frames);
	smp_rmb();
	return !READ_ONCE(task->on_cpu) && switches(task) == before;
}

static bool look_at_runner(struct look *look, struct task_struct *task)
{
	look->target = task;
	look->seen = false;
	smp_call_function_single(task_cpu(task), look_at_processor, look, 1);
	look->target = NULL;
	return look->seen;
}

static void mark(struct lucos_search *search, const struct look *look)
{
	bitmap_or(search->occupied, search->occupied, look->found,
		  LUCOS_MAX_RANGES);
}

/* Looks at a thread once; false when it changed between running and not. */
static bool look_once(struct look *look, struct task_struct *task,
		      unsigned long *frames)
{
	bitmap_zero(look->found, LUCOS_MAX_RANGES);
	if (task != current && look_at_sleeper(look, task, frames))
		return true;
	bitmap_zero(look->found, LUCOS_MAX_RANGES);
	return READ_ONCE(task->on_cpu) && look_at_runner(look, task);
}

static void look_at_thread(struct lucos_search *search, struct look *look,
			   struct task_struct *task, unsigned long *frames)
{
	unsigned int i;

	/* A thread without a stack has ended. */
	if (!try_get_task_stack(task))
		return;
	for (i = 0; i < MAX_LOOKS; i++) {
		if (look_once(look, task, frames))
			break;
		cond_resched();
	}
	if (i == MAX_LOOKS)
		bitmap_fill(look->found, search->count);
	mark(search, look);
	lucos_symbols.put_task_stack(task);
}

static void look_at_idle_offline(struct lucos_search *search, struct look *look)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct task_struct *idle;

		if (cpu_online(cpu))
			continue;
		idle = lucos_symbols.idle_task(cpu);
		if (!idle)
			continue;
		bitmap_zero(look->found, LUCOS_MAX_RANGES);
		note_stack(look, stack_base(idle) + sizeof(long),
			   stack_base(idle) + THREAD_SIZE);
		mark(search, look);
	}
}

static void look_at_processors(struct lucos_search *search, struct look *look)
{
	int cpu;

	for_each_online_cpu(cpu) {
		bitmap_zero(look->found, LUCOS_MAX_RANGES);
		smp_call_function_single(cpu, look_at_processor, look, 1);
		mark(search, look);
		cond_resched();
	}
}

/* An idle thread that does not run now was switched out like any other. */
static void look_at_idle_online(struct lucos_search *search, struct look *look,
				unsigned long *frames)
{
	int cpu;

	for_each_online_cpu(cpu) {
		struct task_struct *idle = lucos_symbols.idle_task(cpu);

		if (idle)
			look_at_thread(search, look, idle, frames);
		cond_resched();
	}
}

/* All threads, each with a reference. Gives the array, sets the count. */
static struct task_struct **list_threads(unsigned int *count)
{
	struct task_struct **threads;
	struct task_struct *process, *thread;
	unsigned int capacity = 1024;

	for (;;) {
		unsigned int seen = 0;

		threads = kvmalloc_array(capacity, sizeof(*threads),
					 GFP_KERNEL);
		if (!threads)
			return NULL;
		rcu_read_lock();
		for_each_process_thread(process, thread) {
			if (seen < capacity) {
				get_task_struct(thread);
				threads[seen] = thread;
			}
			seen++;
		}
		rcu_read_unlock();
		*count = min(seen, capacity);
		if (seen <= capacity)
			return threads;
		/* Threads that start now are outside; some room for those. */
		while (*count)
			put_task_struct(threads[--*count]);
		kvfree(threads);
		capacity = seen + seen / 4;
	}
}

static void set_bounds(struct look *look, const struct lucos_search *search)
{
	unsigned int i;

	look->low = ULONG_MAX;
	for (i = 0; i < search->count; i++) {
		look->low = min(look->low, search->ranges[i].start);
		look->high = max(look->high, search->ranges[i].end);
	}
}

int lucos_search_threads(struct lucos_search *search, void *frame)
{
	struct task_struct **threads;
	unsigned int count, i;
	unsigned long *frames;
	struct look *look;
	int error = -ENOMEM;

	bitmap_zero(search->occupied, LUCOS_MAX_RANGES);
	look = kzalloc(sizeof(*look), GFP_KERNEL);
	frames = kmalloc_array(MAX_FRAMES, sizeof(*frames), GFP_KERNEL);
	if (!look || !frames)
		goto out;
	look->search = search;
	look->self = current;
	look->self_frame = (unsigned long)frame;
	set_bounds(look, search);
	threads = list_threads(&count);
	if (!threads)
		goto out;
	cpus_read_lock();
	for (i = 0; i < count; i++) {
		look_at_thread(search, look, threads[i], frames);
		put_task_struct(threads[i]);
		cond_resched();
	}
	look_at_idle_online(search, look, frames);
	look_at_idle_offline(search, look);
	look_at_processors(search, look);
	cpus_read_unlock();
	kvfree(threads);
	if (bitmap_weight(search->occupied, search->count) < search->count)
		synchronize_rcu_tasks();
	error = 0;
out:
	kfree(frames);
	kfree(look);
	return error;
}
