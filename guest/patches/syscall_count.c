// SPDX-License-Identifier: GPL-2.0
/*
 * Every system call is counted on its way out.
 *
 *	cat /sys/module/syscall_count/parameters/calls
 *
 * The old function is noinstr: it ends in the state of user mode, in which
 * nothing may be traced. So the new one is noinstr too.
 */
#include <linux/entry-common.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/sysfs.h>

#include <lucos/patch.h>

static DEFINE_PER_CPU(unsigned long, calls);

static int read_calls(char *buffer, const struct kernel_param *parameter)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu(calls, cpu));
	return sysfs_emit(buffer, "%lu\n", sum);
}

static const struct kernel_param_ops calls_operations = { .get = read_calls };
module_param_cb(calls, &calls_operations, NULL, 0444);

LUCOS_REPLACE_NOINSTR(syscall_exit_to_user_mode, void, struct pt_regs *regs)
{
	instrumentation_begin();
	this_cpu_inc(calls);
	syscall_exit_to_user_mode_work(regs);
	instrumentation_end();
	exit_to_user_mode();
}

LUCOS_PATCH("syscall_count", "counts system calls on their way out");
