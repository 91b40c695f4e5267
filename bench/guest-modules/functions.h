/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The first FUNCTIONS of these functions, replaced by the same: system calls
 * and a file of /proc, each short and with an ftrace slot.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs_struct.h>
#include <linux/init.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/prio.h>
#include <linux/seq_file.h>
#include <linux/stat.h>
#include <linux/syscalls.h>
#include <linux/tty.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include <lucos/patch.h>

#define CALL(name) LUCOS_REPLACE(__x64_sys_##name, long, const struct pt_regs *regs)

CALL(getppid)
{
	pid_t parent;

	rcu_read_lock();
	parent = task_tgid_vnr(rcu_dereference(current->real_parent));
	rcu_read_unlock();
	return parent;
}

#if FUNCTIONS >= 2
CALL(getuid)
{
	return from_kuid_munged(current_user_ns(), current_uid());
}
#endif

#if FUNCTIONS >= 3
CALL(geteuid)
{
	return from_kuid_munged(current_user_ns(), current_euid());
}
#endif

#if FUNCTIONS >= 13
CALL(getgid)
{
	return from_kgid_munged(current_user_ns(), current_gid());
}

CALL(getegid)
{
	return from_kgid_munged(current_user_ns(), current_egid());
}

/* None that the program itself uses which asks for the figures. */
CALL(sched_get_priority_max)
{
	switch ((int)regs->di) {
	case SCHED_FIFO:
	case SCHED_RR:
		return MAX_RT_PRIO - 1;
	case SCHED_DEADLINE:
	case SCHED_NORMAL:
	case SCHED_BATCH:
	case SCHED_IDLE:
		return 0;
	}
	return -EINVAL;
}

CALL(getpid)
{
	return task_tgid_vnr(current);
}

CALL(getpgrp)
{
	pid_t group;

	rcu_read_lock();
	group = pid_vnr(task_pgrp(current));
	rcu_read_unlock();
	return group;
}

LUCOS_REPLACE_NOINSTR(__x64_sys_ni_syscall, long, const struct pt_regs *unused)
{
	return -ENOSYS;
}

CALL(sync)
{
	ksys_sync();
	return 0;
}

CALL(umask)
{
	return xchg(&current->fs->umask, regs->di & S_IRWXUGO);
}

CALL(vhangup)
{
	if (!capable(CAP_SYS_TTY_CONFIG))
		return -EPERM;
	tty_vhangup_self();
	return 0;
}

LUCOS_REPLACE(cmdline_proc_show, int, struct seq_file *m, void *v)
{
	seq_puts(m, saved_command_line);
	seq_putc(m, '\n');
	return 0;
}
#endif
