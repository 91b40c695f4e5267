/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How the last loads of patch modules ended. A module's init function can only
 * give an errno, so `lucos` asks for the reason afterwards.
 */
#ifndef LUCOS_MANAGER_OUTCOME_H
#define LUCOS_MANAGER_OUTCOME_H

#include "failure.h"

/* Remembers how the load of a module ended. The patch lock is held. */
void lucos_outcome_set(const char *module, const struct lucos_failure *failure);

/*
 * Gives it, once: a later load may end before it comes here. False when there
 * is none. The patch lock is held.
 */
bool lucos_outcome_take(const char *module, struct lucos_failure *failure);

#endif
