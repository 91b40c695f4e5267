/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions that a busy kernel calls all the time, each replaced by one that
 * does the same and counts. A patch has the first FUNCTIONS of them.
 */
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched/signal.h>
#include <linux/skbuff.h>
#include <linux/swap.h>
#include <linux/timerqueue.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include <asm/tlbflush.h>
#include <net/sock.h>
#include <net/tcp.h>

#include <lucos/patch.h>

#include "count.h"

/* 1: a reader of a pipe has emptied a buffer. */
LUCOS_REPLACE(anon_pipe_buf_release, void, struct pipe_inode_info *pipe,
	      struct pipe_buffer *buffer)
{
	struct page *page = buffer->page;

	count_call(1);
	/* One page is kept for the next writer. */
	if (page_count(page) == 1 && !pipe->tmp_page)
		pipe->tmp_page = page;
	else
		put_page(page);
}

/* 2: nanosleep() and others read their argument. */
#if FUNCTIONS >= 2
LUCOS_REPLACE(get_timespec64, int, struct timespec64 *time,
	      const struct __kernel_timespec __user *source)
{
	struct __kernel_timespec copy;

	count_call(2);
	if (copy_from_user(&copy, source, sizeof(copy)))
		return -EFAULT;
	time->tv_sec = copy.tv_sec;
	time->tv_nsec = in_compat_syscall() ? (u32)copy.tv_nsec : copy.tv_nsec;
	return 0;
}
#endif

/* 3: somebody sends on a TCP connection. */
#if FUNCTIONS >= 3
LUCOS_REPLACE(tcp_sendmsg, int, struct sock *sk, struct msghdr *message,
	      size_t size)
{
	int sent;

	count_call(3);
	lock_sock(sk);
	sent = tcp_sendmsg_locked(sk, message, size);
	release_sock(sk);
	return sent;
}
#endif

/* 4: the number of a thread, getpid() for example. */
#if FUNCTIONS >= 4
LUCOS_REPLACE(__task_pid_nr_ns, pid_t, struct task_struct *task,
	      enum pid_type type, struct pid_namespace *ns)
{
	struct pid *pid;
	pid_t number;

	count_call(4);
	rcu_read_lock();
	if (!ns)
		ns = task_active_pid_ns(current);
	pid = READ_ONCE(*(type == PIDTYPE_PID ? &task->thread_pid :
						&task->signal->pids[type]));
	number = ns ? pid_nr_ns(pid, ns) : 0;
	rcu_read_unlock();
	return number;
}
#endif

/* 5: a new page of a process. */
#if FUNCTIONS >= 5
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
void mlock_new_folio(struct folio *folio);
#else
void mlock_new_page(struct page *page);
#define mlock_new_folio(folio) mlock_new_page(&(folio)->page)
#endif

LUCOS_REPLACE(folio_add_lru_vma, void, struct folio *folio,
	      struct vm_area_struct *area)
{
	count_call(5);
	if ((area->vm_flags & (VM_LOCKED | VM_SPECIAL)) == VM_LOCKED)
		mlock_new_folio(folio);
	else
		folio_add_lru(folio);
}
#endif

/* 6 and 7: a timer is started, or expires or is stopped. Neither is traced. */
#if FUNCTIONS >= 6
static bool is_earlier(struct rb_node *one, const struct rb_node *other)
{
	return rb_entry(one, struct timerqueue_node, node)->expires <
	       rb_entry(other, struct timerqueue_node, node)->expires;
}

LUCOS_REPLACE_NOINSTR(timerqueue_add, bool, struct timerqueue_head *head,
		      struct timerqueue_node *node)
{
	count_call(6);
	WARN_ON_ONCE(!RB_EMPTY_NODE(&node->node));
	return rb_add_cached(&node->node, &head->rb_root, is_earlier);
}
#endif

#if FUNCTIONS >= 7
LUCOS_REPLACE_NOINSTR(timerqueue_del, bool, struct timerqueue_head *head,
		      struct timerqueue_node *node)
{
	count_call(7);
	WARN_ON_ONCE(RB_EMPTY_NODE(&node->node));
	rb_erase_cached(&node->node, &head->rb_root);
	RB_CLEAR_NODE(&node->node);
	return !RB_EMPTY_ROOT(&head->rb_root.rb_root);
}
#endif

/* 8: a page that is shared is written to. */
#if FUNCTIONS >= 8
/* The kernel's headers keep it from modules. */
void flush_tlb_mm_range(struct mm_struct *mm, unsigned long start,
			unsigned long end, unsigned int stride_shift,
			bool freed_tables);

LUCOS_REPLACE(ptep_clear_flush, pte_t, struct vm_area_struct *area,
	      unsigned long address, pte_t *entry)
{
	pte_t old;

	count_call(8);
	old = ptep_get_and_clear(area->vm_mm, address, entry);
	if (pte_accessible(area->vm_mm, old))
		flush_tlb_mm_range(area->vm_mm, address, address + PAGE_SIZE,
				   PAGE_SHIFT, false);
	return old;
}
#endif

/* 9: the thread of a number. */
#if FUNCTIONS >= 9
LUCOS_REPLACE(pid_task, struct task_struct *, struct pid *pid,
	      enum pid_type type)
{
	struct hlist_node *first;

	count_call(9);
	if (!pid)
		return NULL;
	first = rcu_dereference_raw(hlist_first_rcu(&pid->tasks[type]));
	return first ? hlist_entry(first, struct task_struct, pid_links[type]) :
		       NULL;
}
#endif

/* 10: a file is mapped or executed. */
#if FUNCTIONS >= 10
LUCOS_REPLACE(path_noexec, bool, const struct path *path)
{
	count_call(10);
	return path->mnt->mnt_flags & MNT_NOEXEC ||
	       path->mnt->mnt_sb->s_iflags & SB_I_NOEXEC;
}
#endif

/* 11 and 12: a packet gets a header, and is received. */
#if FUNCTIONS >= 11
LUCOS_REPLACE(skb_push, void *, struct sk_buff *skb, unsigned int length)
{
	count_call(11);
	skb->data -= length;
	skb->len += length;
	BUG_ON(skb->data < skb->head);
	return skb->data;
}
#endif

#if FUNCTIONS >= 12
LUCOS_REPLACE(sock_rfree, void, struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	unsigned int length = skb->truesize;

	count_call(12);
	atomic_sub(length, &sk->sk_rmem_alloc);
	sk_mem_uncharge(sk, length);
}
#endif

/* 13: the mapping of an address. */
#if FUNCTIONS >= 13
LUCOS_REPLACE(find_vma, struct vm_area_struct *, struct mm_struct *mm,
	      unsigned long address)
{
	unsigned long index = address;

	count_call(13);
	return mt_find(&mm->mm_mt, &index, ULONG_MAX);
}
#endif
