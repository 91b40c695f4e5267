/* SPDX-License-Identifier: GPL-2.0 */
/* How a patch module comes and goes, and how one that is loaded is applied. */
#ifndef LUCOS_MANAGER_LOAD_H
#define LUCOS_MANAGER_LOAD_H

#include <linux/types.h>

#include "failure.h"

/*
 * Checks or applies patches that are loaded but not in force, in one step: their
 * names, with a blank between two.
 */
bool lucos_load_apply(char *names, bool check_only,
		      struct lucos_failure *failure);

#endif
