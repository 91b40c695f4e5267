/* SPDX-License-Identifier: GPL-2.0 */
/* What follows an update when no thread stands in the way any more. */
#ifndef LUCOS_MANAGER_SETTLE_H
#define LUCOS_MANAGER_SETTLE_H

int lucos_settle_start(void);
void lucos_settle_stop(void);

/* Something was applied or rolled back: look soon. */
void lucos_settle_soon(void);

#endif
