/* SPDX-License-Identifier: GPL-2.0 */
#ifndef LUCOS_TEST_HOLDER_H
#define LUCOS_TEST_HOLDER_H

/* Counts a call. One at a time. */
void holder_count(void);

/* Has a thread call `callback` later. Gives 0 or an error. */
int holder_keep(void (*callback)(void));

#endif
