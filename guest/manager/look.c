// SPDX-License-Identifier: GPL-2.0
/*
 * One look at one thread or processor.
 *
 * - A thread that does not run: every word from its stack pointer to the top
 *   of its stack, and the return addresses that tracers keep elsewhere. The
 *   look counts only if the thread neither ran nor was switched meanwhile.
 *   What is found may be a stale word; the kernel's unwinder decides, where it
 *   vouches for the whole stack. A word that may be a call that is still to come
 *   is never dropped: a function's entry, which is no return address, and every
 *   word into code to which the kernel's objects lead.
 * - A thread that runs: an interrupt to its processor, which looks at its own
 *   stacks. The interrupt arrives only with interrupts on, and the exception
 *   stacks (NMI, #DB, #DF, #MC) are used only with interrupts off, so at that
 *   instant they are empty. A thread that was interrupted there is seen with
 *   its registers on the task or interrupt stack.
 */
#include <linux/bitmap.h>
#include <linux/ftrace.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/rethook.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/version.h>

#include <asm/processor.h>

#include "look.h"
#include "symbols.h"

/* How often one thread is looked at before it counts as being everywhere. */
#define MAX_LOOKS 100

/* Frames that the unwinder can give; a deeper stack counts as unreliable. */
#define MAX_FRAMES 128

static void forget(struct lucos_look *look)
{
	bitmap_zero(look->found, look->count);
	bitmap_zero(look->calls, look->count);
}

static void be_everywhere(struct lucos_look *look)
{
	bitmap_fill(look->found, look->count);
	memset(look->addresses, 0, look->count * sizeof(*look->addresses));
}

static void name(struct lucos_look *look, struct task_struct *task)
{
	look->who.thread = task->pid;
	/* Its owner may be writing it: some name of it comes out. */
	strscpy(look->who.name, task->comm, sizeof(look->who.name));
}

static bool is_entry(unsigned long word)
{
	unsigned long offset;

	return lucos_symbols.kallsyms_lookup_size_offset(word, NULL, &offset) &&
	       !offset;
}

static void note_word(struct lucos_look *look, unsigned long word)
{
	unsigned int i;

	if (word < look->low || word >= look->high)
		return;
	for (i = 0; i < look->count; i++) {
		if (word < look->ranges[i].start || word >= look->ranges[i].end)
			continue;
		if (look->ranges[i].published || is_entry(word))
			__set_bit(i, look->calls);
		if (!__test_and_set_bit(i, look->found))
			look->addresses[i] = word;
	}
}

static void note_stack(struct lucos_look *look, unsigned long from, unsigned long to)
{
	from = ALIGN(from, sizeof(long));
	for (; from < to; from += sizeof(long))
		note_word(look, READ_ONCE_NOCHECK(*(unsigned long *)from));
}

/* Return addresses that function_graph and kretprobes took off the stack. */
static void note_kept_returns(struct lucos_look *look, struct task_struct *task)
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

unsigned long lucos_interrupt_stack_top(int cpu)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0) && \
	LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	return (unsigned long)per_cpu(pcpu_hot.hardirq_stack_ptr, cpu);
#else
	unsigned long *place = (unsigned long *)
		((unsigned long)lucos_symbols.hardirq_stack_ptr +
		 per_cpu_offset(cpu));

	return *place;
#endif
}

/* The stacks of this processor from `frame` on; interrupts are off. */
static void note_own_stacks(struct lucos_look *look, unsigned long frame)
{
	unsigned long stack_end = stack_base(current) + THREAD_SIZE;
	unsigned long top = lucos_interrupt_stack_top(smp_processor_id());
	unsigned long task_sp = frame;

	if (current == look->self) {
		note_stack(look, look->self_frame, stack_end);
		return;
	}
	if (!on_task_stack(current, frame)) {
		if (frame > top || top - frame >= IRQ_STACK_SIZE) {
			/* On a stack that is unknown here. */
			be_everywhere(look);
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
	struct lucos_look *look = data;

	if (look->target && look->target != current)
		return;
	look->seen = true;
	name(look, current);
	note_own_stacks(look, (unsigned long)__builtin_frame_address(0));
	note_kept_returns(look, current);
}

/*
 * Early kernels warn when they unwind a thread with a kretprobe that is about to
 * run, and nothing keeps this one from it: whatever lies on its stack counts.
 */
static bool has_hooked_return(struct task_struct *task)
{
#ifdef CONFIG_RETHOOK
	return READ_ONCE(task->rethooks.first);
#else
	return false;
#endif
}

/* Takes back what the unwinder knows to be stale. */
static void drop_stale(struct lucos_look *look, struct task_struct *task)
{
	int count, i;

	if (bitmap_empty(look->found, look->count) || has_hooked_return(task))
		return;
	count = lucos_symbols.stack_trace_save_tsk_reliable(task, look->frames,
							    MAX_FRAMES);
	if (count < 0 || count >= MAX_FRAMES)
		return;
	bitmap_copy(look->stale, look->found, look->count);
	bitmap_copy(look->found, look->calls, look->count);
	for (i = 0; i < count; i++)
		note_word(look, look->frames[i]);
	/* Only what the scan saw too: the unwinder adds nothing. */
	bitmap_and(look->found, look->found, look->stale, look->count);
}

static unsigned long switches(const struct task_struct *task)
{
	return READ_ONCE(task->nvcsw) + READ_ONCE(task->nivcsw);
}

/* Looks at a thread that does not run; false when it ran meanwhile. */
static bool look_at_sleeper(struct lucos_look *look, struct task_struct *task)
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
	drop_stale(look, task);
	smp_rmb();
	return !READ_ONCE(task->on_cpu) && switches(task) == before;
}

static bool look_at_runner(struct lucos_look *look, struct task_struct *task)
{
	look->target = task;
	look->seen = false;
	smp_call_function_single(task_cpu(task), look_at_processor, look, 1);
	look->target = NULL;
	return look->seen;
}

/* Looks at a thread once; false when it changed between running and not. */
static bool look_once(struct lucos_look *look, struct task_struct *task)
{
	forget(look);
	if (task != current && look_at_sleeper(look, task))
		return true;
	forget(look);
	return READ_ONCE(task->on_cpu) && look_at_runner(look, task);
}

void lucos_look_at_thread(struct lucos_look *look, struct task_struct *task)
{
	unsigned int i;

	forget(look);
	/* A thread without a stack has ended. */
	if (!try_get_task_stack(task))
		return;
	for (i = 0; i < MAX_LOOKS; i++) {
		if (look_once(look, task))
			break;
		cond_resched();
	}
	if (i == MAX_LOOKS)
		be_everywhere(look);
	name(look, task);
	lucos_symbols.put_task_stack(task);
}

void lucos_look_at_processor(struct lucos_look *look, int cpu)
{
	forget(look);
	smp_call_function_single(cpu, look_at_processor, look, 1);
}

void lucos_look_at_stack(struct lucos_look *look, struct task_struct *task)
{
	forget(look);
	/* The lowest word is the end mark. */
	note_stack(look, stack_base(task) + sizeof(long),
		   stack_base(task) + THREAD_SIZE);
	name(look, task);
}

static void set_bounds(struct lucos_look *look)
{
	unsigned int i;

	look->low = ULONG_MAX;
	for (i = 0; i < look->count; i++) {
		look->low = min(look->low, look->ranges[i].start);
		look->high = max(look->high, look->ranges[i].end);
	}
}

int lucos_look_start(struct lucos_look *look, const struct lucos_range *ranges,
		     unsigned int count, void *frame)
{
	memset(look, 0, sizeof(*look));
	look->ranges = ranges;
	look->count = count;
	look->self = current;
	look->self_frame = (unsigned long)frame;
	set_bounds(look);
	look->found = bitmap_zalloc(count, GFP_KERNEL);
	look->stale = bitmap_zalloc(count, GFP_KERNEL);
	look->calls = bitmap_zalloc(count, GFP_KERNEL);
	look->addresses = kvcalloc(count, sizeof(*look->addresses), GFP_KERNEL);
	look->frames = kmalloc_array(MAX_FRAMES, sizeof(*look->frames),
				     GFP_KERNEL);
	if (!look->found || !look->stale || !look->calls ||
	    !look->addresses || !look->frames)
		return -ENOMEM;
	return 0;
}

void lucos_look_end(struct lucos_look *look)
{
	bitmap_free(look->found);
	bitmap_free(look->stale);
	bitmap_free(look->calls);
	kvfree(look->addresses);
	kfree(look->frames);
}
