// SPDX-License-Identifier: GPL-2.0
/* The functions of a patch that are called around an update. */
#include <linux/kernel.h>

#include "hooks.h"
#include "module_text.h"

bool lucos_hooks_check(const struct lucos_patch *patch,
		       const struct module *module,
		       struct lucos_failure *failure)
{
	const u64 hooks[] = { patch->on_apply, patch->on_rollback };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		if (hooks[i] && !lucos_module_has_code(module, hooks[i]))
			return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
					  "hooks", hooks[i]);
	return true;
}

bool lucos_hook_on_apply(const struct lucos_patch *patch,
			 struct lucos_failure *failure)
{
	int (*hook)(void) = (void *)patch->on_apply;
	int error = hook ? hook() : 0;

	if (!error)
		return true;
	return lucos_fail(failure, LUCOS_ERROR_HOOK_FAILED, patch->name,
			  abs(error));
}

void lucos_hook_on_rollback(const struct lucos_patch *patch)
{
	void (*hook)(void) = (void *)patch->on_rollback;

	if (hook)
		hook();
}
