/* SPDX-License-Identifier: GPL-2.0 */
/* Where the text of a module is. */
#ifndef LUCOS_MANAGER_MODULE_TEXT_H
#define LUCOS_MANAGER_MODULE_TEXT_H

#include <linux/module.h>
#include <linux/version.h>

static inline unsigned long lucos_module_text(const struct module *module)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return (unsigned long)module->mem[MOD_TEXT].base;
#else
	return (unsigned long)module->core_layout.base;
#endif
}

/* Its size in bytes. */
static inline unsigned long lucos_module_text_size(const struct module *module)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return module->mem[MOD_TEXT].size;
#else
	return module->core_layout.text_size;
#endif
}

/* Whether an address lies in it. */
static inline bool lucos_module_has_code(const struct module *module,
					 unsigned long address)
{
	return address - lucos_module_text(module) <
	       lucos_module_text_size(module);
}

#endif
