// SPDX-License-Identifier: GPL-2.0
/* Keeps kprobes out of code that LUCOS has changed. */
#include <linux/kprobes.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "fence.h"
#include "symbols.h"

/*
 * An entry of the kernel's own list of code that takes no kprobes. The kernel
 * walks the list with preemption off, and without its lock.
 */
struct lucos_fence {
	struct kprobe_blacklist_entry entry;
	struct rcu_head rcu;
};

void lucos_kprobes_lock(void)
{
	mutex_lock(lucos_symbols.kprobe_mutex);
}

void lucos_kprobes_unlock(void)
{
	mutex_unlock(lucos_symbols.kprobe_mutex);
}

bool lucos_kprobe_at(unsigned long address)
{
	bool found;

	preempt_disable();
	found = lucos_symbols.get_kprobe((void *)address);
	preempt_enable();
	return found;
}

struct lucos_fence *lucos_fence_make(void)
{
	struct lucos_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL);

	if (fence)
		INIT_LIST_HEAD(&fence->entry.list);
	return fence;
}

void lucos_fence_put_up(struct lucos_fence *fence, unsigned long start,
			unsigned long end)
{
	fence->entry.start_addr = start;
	fence->entry.end_addr = end;
	list_add_tail_rcu(&fence->entry.list, lucos_symbols.kprobe_blacklist);
}

void lucos_fence_shorten(struct lucos_fence *fence, unsigned long end)
{
	if (end < fence->entry.end_addr)
		WRITE_ONCE(fence->entry.end_addr, end);
}

void lucos_fence_remove(struct lucos_fence *fence)
{
	if (!fence)
		return;
	if (!list_empty(&fence->entry.list))
		list_del_rcu(&fence->entry.list);
	kfree_rcu(fence, rcu);
}
