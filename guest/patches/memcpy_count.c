// SPDX-License-Identifier: GPL-2.0
/*
 * memcpy() counts its calls.
 *
 *	cat /sys/module/memcpy_count/parameters/calls
 *
 * The old function is written in assembly, has no ftrace slot, and is called
 * everywhere: by entry code, in NMIs, by the tracers. So the new one is noinstr
 * and does nothing but count and copy.
 */
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

LUCOS_REPLACE_NOINSTR(memcpy, void *, void *to, const void *from, size_t size)
{
	void *end = to;

	this_cpu_inc(calls);
	asm volatile("rep movsb"
		     : "+D"(end), "+S"(from), "+c"(size)
		     :
		     : "memory");
	return to;
}

LUCOS_PATCH("memcpy_count", "counts the calls of memcpy");
