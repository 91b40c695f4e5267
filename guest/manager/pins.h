/* SPDX-License-Identifier: GPL-2.0 */
/* The modules whose symbols a patch uses. */
#ifndef LUCOS_MANAGER_PINS_H
#define LUCOS_MANAGER_PINS_H

#include "failure.h"

struct loaded_patch;

/* Takes a reference on each of them. */
bool lucos_pin(struct loaded_patch *loaded, struct lucos_failure *failure);

/* Gives them back. */
void lucos_unpin(struct loaded_patch *loaded);

#endif
