// SPDX-License-Identifier: GPL-2.0
/* Calls that change something in LUCOS. */
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "ask.h"
#include "nmi.h"
#include "registration.h"

/* How often, and how many milliseconds apart, a busy LUCOS is asked again. */
#define BUSY_RETRIES 50
#define BUSY_PAUSE_MS 10

bool lucos_ask_once(enum lucos_call call, struct lucos_registers *registers,
		    struct lucos_failure *failure)
{
	bool done;

	lucos_nmi_call_begins();
	done = lucos_registered_hypercall(call, registers, failure);
	lucos_nmi_call_ends();
	return done;
}

bool lucos_ask_again(unsigned int tries, const struct lucos_failure *failure)
{
	if (failure->code != LUCOS_ERROR_BUSY || tries == BUSY_RETRIES)
		return false;
	msleep(BUSY_PAUSE_MS);
	return true;
}

void lucos_name_place(u64 rip, struct lucos_failure *failure)
{
	size_t used = strnlen(failure->subject, sizeof(failure->subject));

	switch (failure->code) {
	case LUCOS_ERROR_TRANSFER_FAULT:
	case LUCOS_ERROR_TRANSFER_LOOPS:
	case LUCOS_ERROR_TRANSFER_WRITES:
	case LUCOS_ERROR_TRANSFER_CALLS:
		scnprintf(failure->subject + used,
			  sizeof(failure->subject) - used, " at %pS",
			  (void *)(unsigned long)rip);
	}
}

bool lucos_ask(enum lucos_call call, struct lucos_registers *registers,
	       struct lucos_failure *failure)
{
	const struct lucos_registers arguments = *registers;
	unsigned int tries;
	bool done;

	for (tries = 0; ; tries++) {
		*registers = arguments;
		done = lucos_ask_once(call, registers, failure);
		if (done || !lucos_ask_again(tries, failure))
			return done;
	}
}
