/* SPDX-License-Identifier: GPL-2.0 */
/* How patches are taken back. */
#ifndef LUCOS_MANAGER_ROLLBACK_H
#define LUCOS_MANAGER_ROLLBACK_H

#include <linux/types.h>

#include "failure.h"

/* Takes a patch back. */
bool lucos_roll_back(const char *name, struct lucos_failure *failure);

/*
 * Before the kernel goes down: takes everything back, the last one first.
 * False when something stays in force.
 */
bool lucos_roll_back_all(void);

#endif
