// SPDX-License-Identifier: GPL-2.0
/*
 * Hypercalls from all processors at the same time. Writing a number to the
 * parameter `calls` makes each processor query the state of LUCOS that often;
 * reading it tells how many calls were answered, refused because another one
 * was being served, and ended otherwise.
 */
#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/smp.h>

#include <asm/processor.h>

#include <lucos/interface.h>

#define MOST_CALLS 10000

static atomic_t answered, busy, other;
static DEFINE_PER_CPU(struct lucos_system_status, status);

static s64 query(void)
{
	u64 number = LUCOS_CALL_BASE | LUCOS_CALL_QUERY;
	u64 kind = LUCOS_QUERY_SYSTEM, selector = 0;
	u64 buffer = (unsigned long)this_cpu_ptr(&status);
	u64 length = sizeof(struct lucos_system_status);

	if (cpuid_ebx(LUCOS_CPUID_INTERFACE) & LUCOS_FEATURE_VMMCALL)
		asm volatile("vmmcall"
			     : "+a"(number), "+b"(kind), "+c"(selector),
			       "+d"(buffer)
			     : "S"(length)
			     : "memory", "cc");
	else
		asm volatile("vmcall"
			     : "+a"(number), "+b"(kind), "+c"(selector),
			       "+d"(buffer)
			     : "S"(length)
			     : "memory", "cc");
	return number;
}

static void call(void *data)
{
	unsigned int i, count = *(unsigned int *)data;

	for (i = 0; i < count; i++) {
		s64 result = query();

		if (result == sizeof(struct lucos_system_status))
			atomic_inc(&answered);
		else if (result == -LUCOS_ERROR_BUSY)
			atomic_inc(&busy);
		else
			atomic_inc(&other);
	}
}

static int make_calls(const char *text, const struct kernel_param *param)
{
	unsigned int count;
	int error = kstrtouint(text, 0, &count);

	if (error || count > MOST_CALLS)
		return error ?: -EINVAL;
	on_each_cpu(call, &count, 1);
	return 0;
}

static int show_results(char *buffer, const struct kernel_param *param)
{
	return scnprintf(buffer, PAGE_SIZE, "%d %d %d\n",
			 atomic_read(&answered), atomic_read(&busy),
			 atomic_read(&other));
}

static const struct kernel_param_ops operations = {
	.set = make_calls,
	.get = show_results,
};
module_param_cb(calls, &operations, NULL, 0600);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("hypercalls from all processors for tests");
