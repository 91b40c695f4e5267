// SPDX-License-Identifier: GPL-2.0
/*
 * Whether anybody is inside code that an update leaves, at the instant of a stop.
 *
 * Not all threads can be looked at in a stop. So each is looked at before, and a
 * probe notes every thread that stops running. Of one that did not run since it
 * was looked at the result still holds. Whoever ran runs now, and is on a stopped
 * processor, or was noted when it stopped. In the stop these are looked at:
 * every word of their stacks, without the unwinder, which is no code for a stop.
 *
 * Threads on their way out of the kernel are in no list: after an RCU-tasks
 * grace period those that do not run are gone, or have run and were noted.
 */
#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/errno.h>
#include <linux/ftrace.h>
#include <linux/hash.h>
#include <linux/llist.h>
#include <linux/rcupdate.h>
#include <linux/rethook.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <linux/version.h>

#include <asm/processor.h>

#include <lucos/patch.h>

#include "symbols.h"
#include "threads.h"
#include "witness.h"

/* Most threads that are noted, and the places for them: a hash table. */
#define MOST_NOTED 512
#define PLACE_BITS 10
#define PLACES (1 << PLACE_BITS)

/* A grace period takes 200 ms under load. */
#define GRACE_LIMIT_MS 2000

/* What is known of a processor before the stop. */
struct place {
	u32 apic_id;
	struct task_struct **current_task;
	unsigned long interrupt_stack_top;
};

static struct {
	/* Each with references to it and to its stack. */
	struct task_struct *noted[PLACES];
	atomic_t count;
	/* More ran than can be noted, or one cannot be looked at later. */
	bool cannot_tell;
	const struct lucos_code *code;
	unsigned long low;	/* the lowest start of a range */
	unsigned long high;	/* the highest end of a range */
	struct task_struct *self;
	unsigned long self_frame;
	unsigned int processors;
	struct place *places;
	bool probing;
} witness;

static struct tracepoint *sched_switch;

/*
 * Notes a thread, from within the scheduler too. One that is noted on two
 * processors at once may get two places, each with references.
 */
static notrace void note(struct task_struct *task)
{
	unsigned int i, at = hash_ptr(task, PLACE_BITS);

	for (i = 0; i < PLACES; i++, at = (at + 1) % PLACES) {
		struct task_struct *found = READ_ONCE(witness.noted[at]);

		if (found == task)
			return;
		if (found)
			continue;
		/* Without a stack it has ended, and will not run. */
		if (!try_get_task_stack(task))
			return;
		get_task_struct(task);
		if (atomic_inc_return(&witness.count) > MOST_NOTED)
			WRITE_ONCE(witness.cannot_tell, true);
		if (!cmpxchg(&witness.noted[at], NULL, task))
			return;
		/* Another processor was faster: its thread lies here now. */
		atomic_dec(&witness.count);
		lucos_symbols.put_task_stack(task);
		put_task_struct(task);
	}
	WRITE_ONCE(witness.cannot_tell, true);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 18, 0)
static void note_switch(void *data, bool preempt, struct task_struct *previous,
			struct task_struct *next, unsigned int previous_state)
#else
static void note_switch(void *data, bool preempt, struct task_struct *previous,
			struct task_struct *next)
#endif
{
	note(previous);
}

static void find_tracepoint(struct tracepoint *tracepoint, void *data)
{
	if (!strcmp(tracepoint->name, "sched_switch"))
		sched_switch = tracepoint;
}

static int start_probe(void)
{
	int error;

	if (!sched_switch)
		for_each_kernel_tracepoint(find_tracepoint, NULL);
	if (!sched_switch)
		return -ENOENT;
	error = tracepoint_probe_register(sched_switch, note_switch, NULL);
	witness.probing = !error;
	return error;
}

static void stop_probe(void)
{
	if (!witness.probing)
		return;
	tracepoint_probe_unregister(sched_switch, note_switch, NULL);
	tracepoint_synchronize_unregister();
	witness.probing = false;
}

static void forget_noted(void)
{
	unsigned int i;

	for (i = 0; i < PLACES; i++) {
		struct task_struct *task = witness.noted[i];

		if (!task)
			continue;
		lucos_symbols.put_task_stack(task);
		put_task_struct(task);
		witness.noted[i] = NULL;
	}
	atomic_set(&witness.count, 0);
}

static struct task_struct **current_of(int cpu)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0) && \
	LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	return &per_cpu(pcpu_hot.current_task, cpu);
#else
	return &per_cpu(current_task, cpu);
#endif
}

static int know_processors(void)
{
	int cpu;

	witness.places = kcalloc(nr_cpu_ids, sizeof(*witness.places),
				 GFP_KERNEL);
	if (!witness.places)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		witness.places[witness.processors++] = (struct place) {
			.apic_id = cpu_physical_id(cpu),
			.current_task = current_of(cpu),
			.interrupt_stack_top = lucos_interrupt_stack_top(cpu),
		};
	return 0;
}

static void set_bounds(const struct lucos_code *code)
{
	unsigned int i;

	witness.low = ULONG_MAX;
	witness.high = 0;
	for (i = 0; i < code->count; i++) {
		witness.low = min(witness.low, code->ranges[i].start);
		witness.high = max(witness.high, code->ranges[i].end);
	}
}

/* Who was inside is looked at once more in the stop. */
static void visit(void *context, const struct lucos_look *look,
		  struct task_struct *task)
{
	if (!task || bitmap_empty(look->found, look->count))
		return;
	/* The stack pointer of a processor that is off is not known. */
	if (is_idle_task(task) && !cpu_online(task_cpu(task)))
		WRITE_ONCE(witness.cannot_tell, true);
	else
		note(task);
}

static int look_at_all(void)
{
	struct lucos_look look;
	int error;

	error = lucos_look_start(&look, witness.code->ranges,
				 witness.code->count,
				 (void *)witness.self_frame);
	if (!error)
		error = lucos_look_at_all(&look, visit, NULL);
	lucos_look_end(&look);
	return error;
}

int lucos_witness_start(const struct lucos_code *code, void *frame)
{
	int error;

	witness.code = code;
	witness.cannot_tell = false;
	witness.self = current;
	witness.self_frame = (unsigned long)frame;
	set_bounds(code);
	error = know_processors() ?: start_probe();
	if (!error && code->count)
		error = look_at_all();
	if (!error && !lucos_wait_for_exiting(GRACE_LIMIT_MS))
		error = -ETIMEDOUT;
	return error;
}

void lucos_witness_end(void)
{
	stop_probe();
	forget_noted();
	kfree(witness.places);
	witness.places = NULL;
	witness.processors = 0;
	witness.code = NULL;
}

/*
 * From here on everything runs in an upcall: nothing may be traced or probed, and
 * nothing written but the stack.
 */

static __always_inline bool is_inside(unsigned long word)
{
	unsigned int i;

	if (word < witness.low || word >= witness.high)
		return false;
	for (i = 0; i < witness.code->count; i++)
		if (word >= witness.code->ranges[i].start &&
		    word < witness.code->ranges[i].end)
			return true;
	return false;
}

/* The first word in a piece of stack that leads inside, or 0. */
static LUCOS_NOINSTR unsigned long in_stack(unsigned long from, unsigned long to)
{
	from = ALIGN(from, sizeof(long));
	for (; from < to; from += sizeof(long)) {
		unsigned long word = READ_ONCE_NOCHECK(*(unsigned long *)from);

		if (is_inside(word))
			return word;
	}
	return 0;
}

static __always_inline unsigned long stack_of(const struct task_struct *task)
{
	return (unsigned long)READ_ONCE(task->stack);
}

/* From a stack pointer that lies on the thread's stack, or all of that. */
static LUCOS_NOINSTR unsigned long in_task_stack(const struct task_struct *task,
					   unsigned long sp)
{
	unsigned long stack = stack_of(task);

	if (task == witness.self)
		sp = witness.self_frame;
	else if (sp < stack || sp >= stack + THREAD_SIZE)
		sp = stack;
	return in_stack(sp, stack + THREAD_SIZE);
}

/* Return addresses that function_graph and kretprobes took off the stack. */
static LUCOS_NOINSTR unsigned long in_kept_returns(struct task_struct *task)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	struct ftrace_ret_stack *kept;
	int i;

	for (i = 0; ; i++) {
		kept = lucos_symbols.ftrace_graph_get_ret_stack(task, i);
		if (!kept)
			break;
		if (is_inside(kept->ret))
			return kept->ret;
	}
#endif
#ifdef CONFIG_RETHOOK
	{
		struct llist_node *node = READ_ONCE(task->rethooks.first);

		for (; node; node = READ_ONCE(node->next)) {
			unsigned long word =
				llist_entry(node, struct rethook_node, llist)
					->ret_addr;

			if (is_inside(word))
				return word;
		}
	}
#endif
	return 0;
}

static LUCOS_NOINSTR unsigned long in_thread(struct task_struct *task,
				       unsigned long sp)
{
	return in_task_stack(task, sp) ?: in_kept_returns(task);
}

static LUCOS_NOINSTR unsigned long
in_registers(const struct lucos_stopped_processor *processor)
{
	unsigned int i;

	if (is_inside(processor->rip))
		return processor->rip;
	for (i = 0; i < sizeof(processor->registers) / sizeof(u64); i++)
		if (is_inside(processor->registers[i]))
			return processor->registers[i];
	return 0;
}

/* Everything that a processor does in the kernel. */
static LUCOS_NOINSTR unsigned long
in_kernel(const struct lucos_stopped_processor *processor,
	  const struct place *place)
{
	unsigned long top = place->interrupt_stack_top;
	struct task_struct *task = READ_ONCE(*place->current_task);
	unsigned long sp = processor->rsp;
	unsigned long found = in_registers(processor);

	if (found)
		return found;
	if (sp <= top && top - sp < IRQ_STACK_SIZE) {
		found = in_stack(sp, top);
		if (found)
			return found;
		sp = READ_ONCE_NOCHECK(*(unsigned long *)top);
	} else if (sp - stack_of(task) >= THREAD_SIZE) {
		/* On a stack that is unknown here, of an exception say. */
		return LUCOS_WITNESS_CANNOT_TELL;
	}
	return in_thread(task, sp);
}

static LUCOS_NOINSTR unsigned long
in_processor(const struct lucos_stopped_processor *processor)
{
	unsigned int i;

	for (i = 0; i < witness.processors; i++) {
		if (witness.places[i].apic_id != processor->apic_id)
			continue;
		/* Who is in a program has nothing on his stack in the kernel. */
		return processor->cpl ? 0 :
					in_kernel(processor, &witness.places[i]);
	}
	return LUCOS_WITNESS_CANNOT_TELL;
}

static LUCOS_NOINSTR bool runs(const struct task_struct *task)
{
	unsigned int i;

	for (i = 0; i < witness.processors; i++)
		if (READ_ONCE(*witness.places[i].current_task) == task)
			return true;
	return false;
}

/* Those that ran since they were looked at, and do not now. */
static LUCOS_NOINSTR unsigned long in_noted(void)
{
	unsigned long found = 0;
	unsigned int i;

	for (i = 0; !found && i < PLACES; i++) {
		struct task_struct *task = READ_ONCE(witness.noted[i]);

		/* Those on processors are looked at there. */
		if (task && !runs(task))
			found = in_thread(task, READ_ONCE(task->thread.sp));
	}
	return found;
}

LUCOS_NOINSTR unsigned long
lucos_witness(const struct lucos_stopped_processors *processors)
{
	const struct lucos_stopped_processor *processor =
		(const struct lucos_stopped_processor *)(processors + 1);
	unsigned long found;
	u32 i;

	if (!witness.code || READ_ONCE(witness.cannot_tell))
		return LUCOS_WITNESS_CANNOT_TELL;
	if (processors->count > LUCOS_STOPPED_PROCESSORS)
		return LUCOS_WITNESS_CANNOT_TELL;
	for (i = 0; i < processors->count; i++) {
		found = in_processor(&processor[i]);
		if (found)
			return found;
	}
	return in_noted() ?: in_thread(witness.self, 0);
}
