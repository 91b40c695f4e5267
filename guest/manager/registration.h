/* SPDX-License-Identifier: GPL-2.0 */
/* The registration of this kernel with LUCOS. */
#ifndef LUCOS_MANAGER_REGISTRATION_H
#define LUCOS_MANAGER_REGISTRATION_H

#include <linux/types.h>

#include <lucos/interface.h>

/* Registers; gives 0 or a negative errno after a message. */
int lucos_register(void);

/* Ends the registration. */
void lucos_unregister(enum lucos_unregister_reason reason);

/* The number that proves to LUCOS that a call comes from this manager. */
u64 lucos_nonce(void);

#endif
