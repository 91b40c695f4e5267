// SPDX-License-Identifier: GPL-2.0
/* Who else uses the ftrace slot of a function. */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/ftrace.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/string.h>

#include "slot.h"
#include "symbols.h"

#define SLOT_SIZE 5

static const u8 empty_slot[SLOT_SIZE] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
static const u8 call_opcode = 0xe8;

/* ftrace's record of a slot, or NULL. The ftrace lock is held. */
static struct dyn_ftrace *find_record(unsigned long slot)
{
	struct ftrace_rec_iter *iter;

	for (iter = lucos_symbols.ftrace_rec_iter_start(); iter;
	     iter = lucos_symbols.ftrace_rec_iter_next(iter)) {
		struct dyn_ftrace *record =
			lucos_symbols.ftrace_rec_iter_record(iter);

		if (record->ip == slot)
			return record;
	}
	return NULL;
}

/* Whether an ftrace user moves the instruction pointer at this slot. */
static bool moves_pointer(unsigned long slot)
{
	struct dyn_ftrace *record;
	bool moves;

	mutex_lock(lucos_symbols.ftrace_lock);
	record = find_record(slot);
	moves = record && record->flags & FTRACE_FL_IPMODIFY;
	mutex_unlock(lucos_symbols.ftrace_lock);
	return moves;
}

/* Copies a slot at an instant at which nobody is changing it. */
static void read_slot(unsigned long slot, u8 bytes[SLOT_SIZE])
{
	mutex_lock(lucos_symbols.text_mutex);
	memcpy(bytes, (void *)slot, SLOT_SIZE);
	mutex_unlock(lucos_symbols.text_mutex);
}

bool lucos_slot_check(const char *name, unsigned long slot, bool at_slot,
		      struct lucos_failure *failure)
{
	u8 bytes[SLOT_SIZE];

	read_slot(slot, bytes);
	if (!memcmp(bytes, empty_slot, SLOT_SIZE))
		return true;
	if (bytes[0] != call_opcode)
		return lucos_fail(failure, LUCOS_ERROR_SITE_FOREIGN, name,
				  slot);
	if (moves_pointer(slot))
		return lucos_fail(failure, LUCOS_ERROR_FTRACE_REDIRECTED, name,
				  slot);
	if (at_slot)
		return lucos_fail(failure, LUCOS_ERROR_FTRACE_ACTIVE, name,
				  slot);
	return true;
}

bool lucos_slot_overrides(unsigned long site)
{
	unsigned long slot = site - SLOT_SIZE;
	u8 bytes[SLOT_SIZE];

	if (lucos_symbols.ftrace_location(slot) != slot)
		return false;
	read_slot(slot, bytes);
	/* The search through all records is only for slots in use. */
	return bytes[0] == call_opcode && moves_pointer(slot);
}

bool lucos_slot_hold(const char *name, unsigned long slot,
		     struct dyn_ftrace **record, struct lucos_failure *failure)
{
	bool is_free;

	mutex_lock(lucos_symbols.ftrace_lock);
	if (!*record)
		*record = find_record(slot);
	is_free = *record && !ftrace_rec_count(*record) &&
		  !((*record)->flags & FTRACE_FL_ENABLED);
	if (is_free)
		(*record)->flags |= FTRACE_FL_DISABLED;
	mutex_unlock(lucos_symbols.ftrace_lock);
	if (!is_free)
		return lucos_fail(failure, LUCOS_ERROR_FTRACE_ACTIVE, name,
				  slot);
	return true;
}

/*
 * A tracer that was switched on meanwhile passed over the record without
 * counting itself there. When it goes it would take itself off a count that
 * is zero, and ftrace switches itself off for that.
 */
void lucos_slot_release(struct dyn_ftrace *record)
{
	bool released;

	mutex_lock(lucos_symbols.ftrace_lock);
	released = *lucos_symbols.ftrace_ops_list ==
		   lucos_symbols.ftrace_list_end;
	if (released)
		record->flags &= ~FTRACE_FL_DISABLED;
	mutex_unlock(lucos_symbols.ftrace_lock);
	if (!released)
		pr_warn("a tracer is active: %pS stays untraced\n",
			(void *)record->ip);
}
