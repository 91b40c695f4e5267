// SPDX-License-Identifier: GPL-2.0
/*
 * Leads the processor to page tables that are none.
 */
#include <linux/irqflags.h>
#include <linux/module.h>

static unsigned long root;
module_param(root, ulong, 0);
MODULE_PARM_DESC(root, "what CR3 gets");

static int __init page_tables_init(void)
{
	local_irq_disable();
	asm volatile("mov %0, %%cr3" : : "r"(root) : "memory");
	/* Nothing comes back from there. */
	return -EIO;
}
module_init(page_tables_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a processor without page tables");
