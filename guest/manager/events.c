// SPDX-License-Identifier: GPL-2.0
/* What became of patches, and who asked for it. */
#include <linux/cred.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/user_namespace.h>

#include "events.h"

/* How many are kept; the oldest make room. */
#define EVENTS 256

static struct lucos_event events[EVENTS];
static unsigned int noted;

void lucos_event_note(enum lucos_event_kind kind, const char *name, u32 number,
		      const struct lucos_failure *failure)
{
	struct lucos_event *event = &events[noted++ % EVENTS];

	*event = (struct lucos_event) {
		.time = ktime_get_real_ns(),
		.kind = kind,
		.number = number,
	};
	if (failure) {
		event->code = failure->code;
		event->detail = failure->detail;
		strscpy(event->subject, failure->subject,
			sizeof(event->subject));
	}
	if (!(current->flags & PF_KTHREAD)) {
		event->process = task_tgid_nr(current);
		event->user = from_kuid(&init_user_ns, current_uid());
	}
	strscpy(event->name, name, sizeof(event->name));
	strscpy_pad(event->program, current->comm, sizeof(event->program));
}

void lucos_events_tell(struct lucos_answer *answer)
{
	unsigned int i = noted > EVENTS ? noted - EVENTS : 0;

	for (; i < noted; i++)
		lucos_answer_add(answer, LUCOS_RECORD_EVENT,
				 &events[i % EVENTS], sizeof(events[0]));
}
