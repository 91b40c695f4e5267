/* SPDX-License-Identifier: GPL-2.0 */
/* The upcalls: what LUCOS calls the manager for. */
#ifndef LUCOS_MANAGER_TRANSFER_H
#define LUCOS_MANAGER_TRANSFER_H

#include <linux/types.h>

/*
 * Makes the pages that so many processors make upcalls with. Gives 0 or -ENOMEM.
 * They are to be freed when LUCOS knows of no manager any more.
 */
int lucos_upcalls_start(unsigned int processors);
void lucos_upcalls_stop(void);

/* What LUCOS is told of upcalls when the manager registers. */
struct lucos_registration;
void lucos_upcalls_register(struct lucos_registration *record);

#endif
