/* SPDX-License-Identifier: GPL-2.0 */
/* The NMIs that LUCOS stops processors with. */
#ifndef LUCOS_MANAGER_NMI_H
#define LUCOS_MANAGER_NMI_H

int lucos_nmi_start(void);
void lucos_nmi_stop(void);

#endif
