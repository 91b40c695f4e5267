/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Keeps kprobes out of code that LUCOS has changed.
 *
 * A kprobe works on a copy of the instruction that it finds. Set on a trap it
 * would execute the copy and bring the kernel down; set on a jump it would
 * outlive the rollback with a copy of that jump. And while a trap stands, the
 * kernel misjudges where the instructions behind it start.
 */
#ifndef LUCOS_MANAGER_FENCE_H
#define LUCOS_MANAGER_FENCE_H

#include <linux/types.h>

struct lucos_fence;

/* While this is held no kprobe comes or goes. Sleeps. */
void lucos_kprobes_lock(void);
void lucos_kprobes_unlock(void);

/* Whether a kprobe, armed or not, stands at an address. */
bool lucos_kprobe_at(unsigned long address);

/* A fence that is not up, or NULL. */
struct lucos_fence *lucos_fence_make(void);

/*
 * Makes the kernel refuse new kprobes from `start` up to, not including, `end`.
 * Those that are there stay. The kprobe lock is held.
 */
void lucos_fence_put_up(struct lucos_fence *fence, unsigned long start,
			unsigned long end);

/* Opens a fence again from `end` on. */
void lucos_fence_shorten(struct lucos_fence *fence, unsigned long end);

/* Takes a fence down, if it is up, and frees it. The kprobe lock is held. */
void lucos_fence_remove(struct lucos_fence *fence);

#endif
