/* SPDX-License-Identifier: GPL-2.0 */
/* The timer that only the new hrtimer_active() calls active. */
#ifndef EXPIRY_H
#define EXPIRY_H

#define SPECIAL_EXPIRY 424242

#endif
