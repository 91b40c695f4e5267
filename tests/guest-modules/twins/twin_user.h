/* SPDX-License-Identifier: GPL-2.0 */
#ifndef LUCOS_TEST_TWIN_USER_H
#define LUCOS_TEST_TWIN_USER_H

#include <linux/atomic.h>
#include <linux/types.h>

struct thing {
	int number;
};

/* These a patch replaces. */
void twin_user_event(struct thing *thing);
void twin_user_end(struct thing *thing);
void twin_user_sleep(void);

/* What the patch has done: twins made, twins dropped, and the events that these had counted. */
extern atomic_t twin_user_made;
extern atomic_t twin_user_dropped;
extern atomic_t twin_user_counted;

/* Whether who sleeps in the patch shall go on to. */
bool twin_user_holds(void);

#endif
