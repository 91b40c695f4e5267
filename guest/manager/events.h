/* SPDX-License-Identifier: GPL-2.0 */
/* What became of patches, and who asked for it. */
#ifndef LUCOS_MANAGER_EVENTS_H
#define LUCOS_MANAGER_EVENTS_H

#include <lucos/interface.h>

#include "answer.h"

/*
 * Notes that something became of a patch. `failure` says why, for what did not
 * come about; else it is NULL. The registry's lock is held.
 */
void lucos_event_note(enum lucos_event_kind kind, const char *name, u32 number,
		      const struct lucos_failure *failure);

/* Adds what was noted, the oldest first. */
void lucos_events_tell(struct lucos_answer *answer);

#endif
