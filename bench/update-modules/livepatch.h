/* SPDX-License-Identifier: GPL-2.0 */
/* Makes the module a livepatch of one function; stands last in the file. */
#include <linux/livepatch.h>
#include <linux/module.h>

#define LIVEPATCH(object, old, new)					\
	static struct klp_func functions[] = {				\
		{ .old_name = old, .new_func = new },			\
		{ }							\
	};								\
	static struct klp_object objects[] = {				\
		{ .name = object, .funcs = functions },			\
		{ }							\
	};								\
	static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects }; \
									\
	static int __init start(void)					\
	{								\
		return klp_enable_patch(&patch);			\
	}								\
									\
	static void __exit stop(void)					\
	{								\
	}								\
									\
	module_init(start);						\
	module_exit(stop);						\
	MODULE_LICENSE("GPL");						\
	MODULE_INFO(livepatch, "Y");					\
	MODULE_DESCRIPTION("replaces " old)
