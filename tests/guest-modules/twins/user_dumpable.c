// SPDX-License-Identifier: GPL-2.0
/*
 * The fix of who may look at a task without memory (ptrace: slightly saner
 * get_dumpable() logic): a bit of each task says whether it was dumpable when it
 * gave its memory up. The bit lies in a hole of the structure, which is zero in
 * every task: no twin is needed, nothing is carried, and a task that died under
 * the old code has none, which is the safe side.
 *
 * Kernels that have the fix have a bit of their own; here the patch uses its own
 * there too.
 */
#include <linux/bits.h>
#include <linux/cred.h>
#include <linux/mutex.h>
#include <linux/futex.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/security.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <linux/uprobes.h>
#include <asm/mmu_context.h>

#include <lucos/patch.h>

/* The last bit of the word before atomic_flags, which no field has. */
#define USER_DUMPABLE	BIT(31)

static unsigned int *word_of(struct task_struct *task)
{
	return (unsigned int *)&task->atomic_flags - 1;
}

static void tell_waiting_threads(struct task_struct *task, struct mm_struct *mm)
{
	if (!task->clear_child_tid)
		return;
	if (atomic_read(&mm->mm_users) > 1 &&
	    !put_user(0, task->clear_child_tid))
		do_futex((u32 __user *)task->clear_child_tid, FUTEX_WAKE, 1,
			 NULL, NULL, 0, 0);
	task->clear_child_tid = NULL;
}

static void tell_parent(struct task_struct *task)
{
	struct completion *vfork;

	task_lock(task);
	vfork = task->vfork_done;
	if (vfork) {
		task->vfork_done = NULL;
		complete(vfork);
	}
	task_unlock(task);
}

/* The task exits, and still has its memory. */
LUCOS_REPLACE(exit_mm_release, void, struct task_struct *task, struct mm_struct *mm)
{
	if (mm && get_dumpable(mm) == SUID_DUMP_USER)
		*word_of(task) |= USER_DUMPABLE;
	futex_exit_release(task);
	uprobe_free_utask(task);
	deactivate_mm(task, mm);
	tell_waiting_threads(task, mm);
	tell_parent(task);
}

/* Whether who asks may trace everybody of the user namespace. */
static bool may_trace(struct user_namespace *space, unsigned int mode)
{
	return mode & PTRACE_MODE_NOAUDIT ?
		       ns_capable_noaudit(space, CAP_SYS_PTRACE) :
		       ns_capable(space, CAP_SYS_PTRACE);
}

static bool is_dumpable(struct task_struct *task, unsigned int mode)
{
	struct mm_struct *mm = task->mm;

	if (!mm)
		return *word_of(task) & USER_DUMPABLE ||
		       may_trace(&init_user_ns, mode);
	return get_dumpable(mm) == SUID_DUMP_USER ||
	       may_trace(mm->user_ns, mode);
}

/* Whether all identities of a task are those of who asks. In a section of readers. */
static bool is_same_user(const struct cred *theirs, unsigned int mode)
{
	const struct cred *mine = current_cred();
	bool by_file = mode & PTRACE_MODE_FSCREDS;
	kuid_t user = by_file ? mine->fsuid : mine->uid;
	kgid_t group = by_file ? mine->fsgid : mine->gid;

	return uid_eq(user, theirs->euid) && uid_eq(user, theirs->suid) &&
	       uid_eq(user, theirs->uid) && gid_eq(group, theirs->egid) &&
	       gid_eq(group, theirs->sgid) && gid_eq(group, theirs->gid);
}

LUCOS_REPLACE(__ptrace_may_access, int, struct task_struct *task, unsigned int mode)
{
	const struct cred *theirs;
	bool allowed;

	if (!(mode & PTRACE_MODE_FSCREDS) == !(mode & PTRACE_MODE_REALCREDS)) {
		WARN(1, "denying ptrace access check without PTRACE_MODE_*CREDS\n");
		return -EPERM;
	}
	if (same_thread_group(task, current))
		return 0;
	rcu_read_lock();
	theirs = __task_cred(task);
	allowed = is_same_user(theirs, mode) ||
		  may_trace(theirs->user_ns, mode);
	rcu_read_unlock();
	if (!allowed)
		return -EPERM;
	/* Behind the identities, as commit_creds() writes them before. */
	smp_rmb();
	if (!is_dumpable(task, mode))
		return -EPERM;
	return security_ptrace_access_check(task, mode);
}

LUCOS_PATCH("user_dumpable", "ptrace: slightly saner get_dumpable() logic");
