/* SPDX-License-Identifier: GPL-2.0 */
/* Where a function is redirected, and whether it may be. */
#ifndef LUCOS_MANAGER_SITE_H
#define LUCOS_MANAGER_SITE_H

#include <linux/module.h>

#include "failure.h"

/*
 * Judges the old function that a patch names and fills `function` but for the
 * new function and the expected bytes. `at_slot` asks for the ftrace slot
 * itself as the site and says why, as an error code (0: the site is behind it);
 * it is set when the slot is chosen here. A reference is taken on the module
 * that the function belongs to, if it does to one, and left in `owner`. Can
 * sleep. The kprobe lock is held, so that what is said of kprobes stays true.
 */
bool lucos_site_judge(const struct lucos_patch_function *wanted,
		      const struct module *patch_module, u32 *at_slot,
		      struct lucos_function *function, struct module **owner,
		      struct lucos_failure *failure);

#endif
