/* SPDX-License-Identifier: GPL-2.0 */
/* How a patch is put in force. */
#ifndef LUCOS_MANAGER_APPLY_H
#define LUCOS_MANAGER_APPLY_H

#include <linux/types.h>

#include "failure.h"

struct loaded_patch;

/*
 * Checks a patch and puts it in force, or only checks it. When that fails,
 * nothing has changed.
 */
bool lucos_apply(struct loaded_patch *loaded, bool check_only,
		 struct lucos_failure *failure);

#endif
