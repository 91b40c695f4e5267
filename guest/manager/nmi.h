/* SPDX-License-Identifier: GPL-2.0 */
/* The NMIs that LUCOS stops processors with. */
#ifndef LUCOS_MANAGER_NMI_H
#define LUCOS_MANAGER_NMI_H

int lucos_nmi_start(void);
void lucos_nmi_stop(void);

/* Stand around every call that can stop processors; one at a time. */
void lucos_nmi_call_begins(void);
void lucos_nmi_call_ends(void);

#endif
