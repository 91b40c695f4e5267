/* SPDX-License-Identifier: GPL-2.0 */
/* The registration of this kernel with LUCOS. */
#ifndef LUCOS_MANAGER_REGISTRATION_H
#define LUCOS_MANAGER_REGISTRATION_H

#include <linux/types.h>

#include <lucos/interface.h>

#include "hypercall.h"

/* Registers; gives 0 or a negative errno after a message. */
int lucos_register(void);

/*
 * Makes a call that only the registered manager may make, with the nonce in
 * RBX. When other code of the kernel has taken the registration away, it is
 * taken back, with a warning, and the call is made once more.
 */
bool lucos_registered_hypercall(enum lucos_call call,
				struct lucos_registers *registers,
				struct lucos_failure *failure);

/* Ends the registration. */
void lucos_unregister(enum lucos_unregister_reason reason);

#endif
