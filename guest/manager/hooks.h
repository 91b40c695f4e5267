/* SPDX-License-Identifier: GPL-2.0 */
/* The functions of a patch that are called around an update. */
#ifndef LUCOS_MANAGER_HOOKS_H
#define LUCOS_MANAGER_HOOKS_H

#include <linux/module.h>

#include <lucos/interface.h>

#include "failure.h"

/* Whether the hooks are code of the module. */
bool lucos_hooks_check(const struct lucos_patch *patch,
		       const struct module *module,
		       struct lucos_failure *failure);

/* Calls the hook for a patch that has come into force. Sleeps. */
bool lucos_hook_on_apply(const struct lucos_patch *patch,
			 struct lucos_failure *failure);

/* Calls the hook for a patch that is going to be taken out of force. Sleeps. */
void lucos_hook_on_rollback(const struct lucos_patch *patch);

#endif
