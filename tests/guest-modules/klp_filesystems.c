// SPDX-License-Identifier: GPL-2.0
/* A patch for the kernel's own livepatch: another text in /proc/filesystems. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static int klp_filesystems_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "klp\n");
	return 0;
}

static struct klp_func functions[] = {
	{
		.old_name = "filesystems_proc_show",
		.new_func = klp_filesystems_proc_show,
	},
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = functions },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init start(void)
{
	return klp_enable_patch(&patch);
}

static void __exit stop(void)
{
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("replaces filesystems_proc_show by the kernel's own means");
