// SPDX-License-Identifier: GPL-2.0
/*
 * getppid() gives the parent's number plus 100000.
 *
 *	sh -c 'echo $PPID'
 *
 * A system call can be made often, so this shows how a trap becomes a jump:
 * `lucos show getppid_shift` right after `lucos apply`, and a little later.
 */
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>

#include <lucos/patch.h>

LUCOS_REPLACE(__x64_sys_getppid, long, const struct pt_regs *unused)
{
	pid_t parent;

	rcu_read_lock();
	parent = task_tgid_vnr(rcu_dereference(current->real_parent));
	rcu_read_unlock();
	return parent + 100000;
}

LUCOS_PATCH("getppid_shift", "adds 100000 to what getppid() gives");
