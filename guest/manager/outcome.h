/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How the last loads of patch modules ended. A module's init function can only
 * give an errno, so `lucos` asks for the verdict afterwards.
 */
#ifndef LUCOS_MANAGER_OUTCOME_H
#define LUCOS_MANAGER_OUTCOME_H

#include "failure.h"

/* Remembers the verdict on a module, and the failure if it was refused. */
void lucos_outcome_set(const char *module, enum lucos_verdict verdict,
		       const struct lucos_failure *failure);

/*
 * Gives the verdict, once: a later load may end before it comes here. When the
 * module was refused, `failure` says why.
 */
enum lucos_verdict lucos_outcome_take(const char *module,
				      struct lucos_failure *failure);

#endif
