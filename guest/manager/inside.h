/* SPDX-License-Identifier: GPL-2.0 */
/* Who stands in code that somebody waits for, and since when. */
#ifndef LUCOS_MANAGER_INSIDE_H
#define LUCOS_MANAGER_INSIDE_H

#include "look.h"

struct loaded_inside {
	struct lucos_occupant who;
	time64_t since;		/* found first, in seconds since the boot; 0: nobody */
};

/* Notes who was found by a search, or NULL for nobody. */
void lucos_inside_note(struct loaded_inside *inside,
		       const struct lucos_occupant *who);

#endif
