/* SPDX-License-Identifier: GPL-2.0 */
/* How a patch module comes and goes, and how one that is loaded is applied. */
#ifndef LUCOS_MANAGER_LOAD_H
#define LUCOS_MANAGER_LOAD_H

#include <linux/types.h>

#include "failure.h"

/*
 * Applies patches that are loaded but not in force, in one step: their names, with
 * a blank between two. They are on probation for so many seconds, 0 for none.
 */
bool lucos_load_apply(char *names, u32 probation,
		      struct lucos_failure *failure);

/* Only checks them. */
bool lucos_load_check(char *names, struct lucos_failure *failure);

#endif
