/* SPDX-License-Identifier: GPL-2.0 */
/* How patches are taken back. */
#ifndef LUCOS_MANAGER_ROLLBACK_H
#define LUCOS_MANAGER_ROLLBACK_H

#include <linux/types.h>

#include "failure.h"

struct lucos_answer;

/*
 * Takes a patch back, in one step with all patches that stand on it or need it
 * if they are to be taken along. Adds what stays of it in the kernel.
 */
bool lucos_roll_back(const char *name, bool with_dependents,
		     struct lucos_answer *answer,
		     struct lucos_failure *failure);

/*
 * Before the kernel goes down: takes everything back, the last one first.
 * False when something stays in force.
 */
bool lucos_roll_back_all(void);

#endif
