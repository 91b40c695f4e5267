/* SPDX-License-Identifier: GPL-2.0 */
/* How patches are put in force. */
#ifndef LUCOS_MANAGER_APPLY_H
#define LUCOS_MANAGER_APPLY_H

#include <linux/types.h>

#include "failure.h"

struct loaded_patch;

/*
 * Checks patches and puts them in force in one step. Each is taken as if those
 * before it were in force. When that fails, nothing has changed. `flags` may
 * have LUCOS_FLAG_CHECK_ONLY, or LUCOS_FLAG_CLEAR_ONLY.
 */
bool lucos_apply(struct loaded_patch **patches, unsigned int count, u32 flags,
		 struct lucos_failure *failure);

#endif
