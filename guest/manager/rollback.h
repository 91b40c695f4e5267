/* SPDX-License-Identifier: GPL-2.0 */
/* How patches are taken back. */
#ifndef LUCOS_MANAGER_ROLLBACK_H
#define LUCOS_MANAGER_ROLLBACK_H

#include <linux/types.h>

#include "failure.h"

/* Takes a patch back. Takes the lock. */
bool lucos_patches_rollback(const char *name, struct lucos_failure *failure);

/*
 * Before the kernel goes down: takes everything back, the last one first.
 * False when something stays in force. The lock is held.
 */
bool lucos_patches_rollback_all(void);

#endif
