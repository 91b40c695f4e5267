// SPDX-License-Identifier: GPL-2.0
/* Calls of LUCOS that put patches in force or take them back, with their data. */
#include <linux/irqflags.h>
#include <linux/mutex.h>

#include "ask.h"
#include "move.h"
#include "registry.h"
#include "symbols.h"

/*
 * New code may run as soon as LUCOS has done it, and wants to know its patch's
 * number: nothing comes in between on this processor.
 */
static bool ask(const struct lucos_move *move, enum lucos_call call,
		struct lucos_registers *registers,
		struct lucos_failure *failure)
{
	unsigned long flags;
	bool done;

	local_irq_save(flags);
	done = lucos_ask_once(call, registers, failure);
	if (done && call == LUCOS_CALL_APPLY)
		lucos_versions_answered(move->patches, move->count,
					registers->rbx);
	local_irq_restore(flags);
	return done;
}

/*
 * The kernel's lock is only tried: who holds the locks of authors may not wait
 * for it, since somebody may want one of those with it held.
 */
static bool ask_with_text(const struct lucos_move *move, enum lucos_call call,
			  struct lucos_registers *registers,
			  struct lucos_failure *failure)
{
	bool done;

	if (!move->holds_text)
		return ask(move, call, registers, failure);
	if (!mutex_trylock(lucos_symbols.text_mutex))
		return lucos_fail(failure, LUCOS_ERROR_BUSY, NULL, 0);
	done = ask(move, call, registers, failure);
	mutex_unlock(lucos_symbols.text_mutex);
	return done;
}

static bool try(const struct lucos_move *move, enum lucos_call call,
		struct lucos_registers *registers,
		struct lucos_failure *failure)
{
	bool done, clear;
	unsigned int i;

	if (!lucos_versions_lend(move->patches, move->count, move->to, failure))
		return false;
	move->describe(move->context);
	done = ask_with_text(move, call, registers, failure);
	clear = registers->rcx & LUCOS_RESULT_CLEAR;
	lucos_versions_release(move->patches, move->count);
	for (i = 0; i < move->count; i++)
		if (done)
			lucos_versions_moved(move->patches[i], move->to, clear);
		else
			lucos_versions_refused(move->patches[i], move->to);
	return done;
}

bool lucos_move_ask(const struct lucos_move *move, enum lucos_call call,
		    struct lucos_registers *registers,
		    struct lucos_failure *failure)
{
	const struct lucos_registers arguments = *registers;
	unsigned int tries;

	for (tries = 0; ; tries++) {
		*registers = arguments;
		if (try(move, call, registers, failure))
			return true;
		if (!lucos_ask_again(tries, failure))
			return false;
	}
}
