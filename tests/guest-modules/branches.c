// SPDX-License-Identifier: GPL-2.0
/*
 * Functions with a static branch at the site of a redirection, in its window
 * and behind it. Reading a parameter calls the function of that name with 10;
 * writing `key` flips the branches.
 */
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

/* new_branches.c finds it by its name. */
static DEFINE_STATIC_KEY_FALSE(branches_key);

/* An instruction of three bytes that the compiler leaves where it is. */
#define SHORT_INSTRUCTION(x) asm volatile("xorl $0, %0" : "+r"(x))

/* 11 with the key off, 12 with it on. */
static noinline int branches_at_site(int x)
{
	if (static_branch_unlikely(&branches_key))
		return x + 2;
	return x + 1;
}

/* 21 and 22. */
static noinline int branches_in_window(int x)
{
	SHORT_INSTRUCTION(x);
	if (static_branch_unlikely(&branches_key))
		return x + 12;
	return x + 11;
}

/* 31 and 32. */
static noinline int branches_behind(int x)
{
	SHORT_INSTRUCTION(x);
	SHORT_INSTRUCTION(x);
	if (static_branch_unlikely(&branches_key))
		return x + 22;
	return x + 21;
}

static int read_result(char *buffer, const struct kernel_param *parameter)
{
	int (*function)(int x) = parameter->arg;

	return sysfs_emit(buffer, "%d\n", function(10));
}

static const struct kernel_param_ops result = { .get = read_result };

static int write_key(const char *value, const struct kernel_param *parameter)
{
	bool on;
	int error = kstrtobool(value, &on);

	if (error)
		return error;
	if (on)
		static_branch_enable(&branches_key);
	else
		static_branch_disable(&branches_key);
	return 0;
}

static const struct kernel_param_ops key = { .set = write_key };

module_param_cb(at_site, &result, branches_at_site, 0400);
module_param_cb(in_window, &result, branches_in_window, 0400);
module_param_cb(behind, &result, branches_behind, 0400);
module_param_cb(key, &key, NULL, 0200);

static int __init start(void)
{
	return 0;
}

static void __exit stop(void)
{
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("static branches near the start of functions");
