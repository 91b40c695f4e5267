// SPDX-License-Identifier: GPL-2.0
/*
 * The search for threads that stand in, or return to, given code.
 *
 * Nobody can enter the ranges any more when the search begins, so it is enough
 * to see each thread outside at one instant; the instants may differ.
 *
 * - Every thread in the list is looked at, whether it runs or not (look.c).
 * - A thread on its way out of the kernel is no longer in the list: every
 *   processor is asked what runs there, and an RCU-tasks grace period waits for
 *   those that do not run.
 * - Idle threads of processors that are off are looked at in full.
 */
#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "symbols.h"
#include "threads.h"

/* Takes over what the last look found, with the first one found in each range. */
static void mark(void *context, const struct lucos_look *look,
		 struct task_struct *task)
{
	struct lucos_search *search = context;
	unsigned int i;

	for_each_set_bit(i, look->found, search->count) {
		if (__test_and_set_bit(i, search->occupied))
			continue;
		search->occupants[i] = look->who;
		search->occupants[i].address = look->addresses[i];
	}
}

/* What becomes of each look. */
struct visitor {
	struct lucos_look *look;
	lucos_visit visit;
	void *context;
};

static void visit(const struct visitor *visitor, struct task_struct *task)
{
	visitor->visit(visitor->context, visitor->look, task);
}

static void look_at_idle_offline(const struct visitor *visitor)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct task_struct *idle;

		if (cpu_online(cpu))
			continue;
		idle = lucos_symbols.idle_task(cpu);
		if (!idle)
			continue;
		lucos_look_at_stack(visitor->look, idle);
		visit(visitor, idle);
	}
}

static void look_at_processors(const struct visitor *visitor)
{
	int cpu;

	for_each_online_cpu(cpu) {
		lucos_look_at_processor(visitor->look, cpu);
		visit(visitor, NULL);
		cond_resched();
	}
}

/* An idle thread that does not run now was switched out like any other. */
static void look_at_idle_online(const struct visitor *visitor)
{
	int cpu;

	for_each_online_cpu(cpu) {
		struct task_struct *idle = lucos_symbols.idle_task(cpu);

		if (idle) {
			lucos_look_at_thread(visitor->look, idle);
			visit(visitor, idle);
		}
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

int lucos_look_at_all(struct lucos_look *look, lucos_visit visit_one,
		      void *context)
{
	const struct visitor visitor = {
		.look = look,
		.visit = visit_one,
		.context = context,
	};
	struct task_struct **threads;
	unsigned int count, i;

	threads = list_threads(&count);
	if (!threads)
		return -ENOMEM;
	cpus_read_lock();
	for (i = 0; i < count; i++) {
		lucos_look_at_thread(look, threads[i]);
		visit(&visitor, threads[i]);
		put_task_struct(threads[i]);
		cond_resched();
	}
	look_at_idle_online(&visitor);
	look_at_idle_offline(&visitor);
	look_at_processors(&visitor);
	cpus_read_unlock();
	kvfree(threads);
	return 0;
}

int lucos_search_now(struct lucos_search *search, void *frame)
{
	struct lucos_look look;
	int error;

	bitmap_zero(search->occupied, search->count);
	error = lucos_look_start(&look, search->ranges, search->count, frame);
	if (!error)
		error = lucos_look_at_all(&look, mark, search);
	lucos_look_end(&look);
	return error;
}

/* One wait for a grace period, which can go on when nobody waits any more. */
struct grace {
	struct rcu_head rcu;
	struct completion ended;
	refcount_t users;
};

/* Those that go on; no more are begun than this. */
static atomic_t going_on;

#define MOST_GOING_ON 16

/* How long a search waits. */
#define SEARCH_LIMIT_MS 2000

static void put_grace(struct grace *grace)
{
	if (refcount_dec_and_test(&grace->users))
		kfree(grace);
}

static void grace_ended(struct rcu_head *head)
{
	struct grace *grace = container_of(head, struct grace, rcu);

	atomic_dec(&going_on);
	complete(&grace->ended);
	put_grace(grace);
}

bool lucos_wait_for_exiting(unsigned int limit_ms)
{
	struct grace *grace;
	bool ended;

	if (atomic_read(&going_on) >= MOST_GOING_ON)
		return false;
	grace = kmalloc(sizeof(*grace), GFP_KERNEL);
	if (!grace)
		return false;
	init_completion(&grace->ended);
	refcount_set(&grace->users, 2);
	atomic_inc(&going_on);
	call_rcu_tasks(&grace->rcu, grace_ended);
	ended = wait_for_completion_timeout(&grace->ended,
					    msecs_to_jiffies(limit_ms));
	put_grace(grace);
	return ended;
}

void lucos_threads_stop(void)
{
	rcu_barrier_tasks();
}

int lucos_search_threads(struct lucos_search *search, void *frame)
{
	int error = lucos_search_now(search, frame);

	search->uncertain = !error &&
			    !bitmap_full(search->occupied, search->count) &&
			    !lucos_wait_for_exiting(SEARCH_LIMIT_MS);
	return error;
}

int lucos_search_alloc(struct lucos_search *search, unsigned int count)
{
	search->count = count;
	search->ranges = kvcalloc(count, sizeof(*search->ranges), GFP_KERNEL);
	search->occupants = kvcalloc(count, sizeof(*search->occupants),
				     GFP_KERNEL);
	search->occupied = bitmap_zalloc(count, GFP_KERNEL);
	if (search->ranges && search->occupants && search->occupied)
		return 0;
	lucos_search_free(search);
	return -ENOMEM;
}

void lucos_search_free(struct lucos_search *search)
{
	kvfree(search->ranges);
	kvfree(search->occupants);
	bitmap_free(search->occupied);
	memset(search, 0, sizeof(*search));
}
