/* SPDX-License-Identifier: GPL-2.0 */
/* Calls of LUCOS that put patches in force or take them back, with their data. */
#ifndef LUCOS_MANAGER_MOVE_H
#define LUCOS_MANAGER_MOVE_H

#include "hypercall.h"
#include "versions.h"

struct lucos_move {
	struct loaded_patch *const *patches;
	unsigned int count;
	enum lucos_direction to;
	/* Whether LUCOS shall not meet code that the kernel is changing. */
	bool holds_text;
	/* Writes what LUCOS is told of the pairs that are listed now. */
	void (*describe)(void *context);
	void *context;
};

/*
 * Makes the call, with the pairs listed and the authors' locks held; again for a
 * short while as long as LUCOS is busy. Afterwards the manager knows which
 * sides of the data live. Sleeps.
 */
bool lucos_move_ask(const struct lucos_move *move, enum lucos_call call,
		    struct lucos_registers *registers,
		    struct lucos_failure *failure);

#endif
