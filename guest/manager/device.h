/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/lucos, by which the lucos command talks to the manager. */
#ifndef LUCOS_MANAGER_DEVICE_H
#define LUCOS_MANAGER_DEVICE_H

int lucos_device_start(void);
void lucos_device_stop(void);

#endif
