/* SPDX-License-Identifier: GPL-2.0 */
/* Calls that change something in LUCOS. */
#ifndef LUCOS_MANAGER_ASK_H
#define LUCOS_MANAGER_ASK_H

#include <linux/types.h>

#include "hypercall.h"

/*
 * Makes a call of the registered manager, whose nonce is put into RBX, again
 * for a short while as long as LUCOS is busy. Sleeps.
 */
bool lucos_ask(enum lucos_call call, struct lucos_registers *registers,
	       struct lucos_failure *failure);

/* The same, once and without sleeping. */
bool lucos_ask_once(enum lucos_call call, struct lucos_registers *registers,
		    struct lucos_failure *failure);

/*
 * Adds to the subject of a failure where the transfer function stood that LUCOS
 * has ended, if that is what failed. LUCOS gives the place in RBX.
 */
void lucos_name_place(u64 rip, struct lucos_failure *failure);

/*
 * Whether a call that failed after so many others is to be made again, after a
 * pause that has passed.
 */
bool lucos_ask_again(unsigned int tries, const struct lucos_failure *failure);

#endif
