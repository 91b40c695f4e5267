// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel's own tables say of the bytes at the start of a function.
 *
 * The kernel's own checks walk a whole table for each range of addresses. What
 * the tables of the kernel say of addresses never changes after its start, so
 * each is walked once, and what it says is kept in order. Those of a module are
 * short and are walked when they are needed.
 */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/extable.h>
#include <linux/jump_label.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/sort.h>
#include <linux/static_call_types.h>

#include "symbols.h"
#include "tables.h"

#define LONG_SIZE 5
#define SHORT_SIZE 2

/* The first bytes of the short forms of a jump label: a jump and a NOP. */
#define SHORT_JUMP 0xeb
#define SHORT_NOP 0x66

/* What stands at an address, or leads to it. */
enum kind {
	JUMP_LABEL,
	STATIC_CALL,
	EXCEPTION,
	BUG_OR_WARN,
	BRANCH,
};

/* A place in the kernel's text: its distance from the start, and the kind. */
#define KIND_BITS 3
#define MAX_DISTANCE (U32_MAX >> KIND_BITS)

static u32 *places;
static unsigned int place_count;

/* The tables of the kernel or of a module. */
struct tables {
	const struct jump_entry *labels, *labels_end;
	const struct static_call_site *calls, *calls_end;
	const struct exception_table_entry *exceptions, *exceptions_end;
	const struct bug_entry *bugs, *bugs_end;
};

typedef void (*visitor)(void *context, enum kind kind, unsigned long address);

static struct tables tables_of_kernel(void)
{
	return (struct tables) {
		.labels = lucos_symbols.jump_table,
		.labels_end = lucos_symbols.jump_table_end,
		.calls = lucos_symbols.static_calls,
		.calls_end = lucos_symbols.static_calls_end,
		.exceptions = lucos_symbols.exception_table,
		.exceptions_end = lucos_symbols.exception_table_end,
		.bugs = lucos_symbols.bug_table,
		.bugs_end = lucos_symbols.bug_table_end,
	};
}

static struct tables tables_of(const struct module *module)
{
	return (struct tables) {
		.labels = module->jump_entries,
		.labels_end = module->jump_entries + module->num_jump_entries,
		.calls = module->static_call_sites,
		.calls_end = module->static_call_sites +
			     module->num_static_call_sites,
		.exceptions = module->extable,
		.exceptions_end = module->extable + module->num_exentries,
		.bugs = module->bug_table,
		.bugs_end = module->bug_table + module->num_bugs,
	};
}

/* An address that is kept as the distance from where it is kept. */
static unsigned long relative(const s32 *place)
{
	return (unsigned long)place + *place;
}

static void visit(const struct tables *tables, visitor note, void *context)
{
	const struct exception_table_entry *exception;
	const struct static_call_site *call;
	const struct jump_entry *label;
	const struct bug_entry *bug;

	for (label = tables->labels; label < tables->labels_end; label++) {
		note(context, JUMP_LABEL, jump_entry_code(label));
		note(context, BRANCH, jump_entry_target(label));
	}
	for (call = tables->calls; call < tables->calls_end; call++)
		note(context, STATIC_CALL, relative(&call->addr));
	for (exception = tables->exceptions;
	     exception < tables->exceptions_end; exception++) {
		note(context, EXCEPTION, relative(&exception->insn));
		note(context, BRANCH, relative(&exception->fixup));
	}
	for (bug = tables->bugs; bug < tables->bugs_end; bug++)
		note(context, BUG_OR_WARN, relative(&bug->bug_addr_disp));
}

static void count_place(void *context, enum kind kind, unsigned long address)
{
	++*(unsigned int *)context;
}

/* What lies outside the text is gone or is no text. */
static void keep_place(void *context, enum kind kind, unsigned long address)
{
	unsigned long start = (unsigned long)lucos_symbols.stext;

	if (address >= start && address < (unsigned long)lucos_symbols.etext)
		places[place_count++] = (address - start) << KIND_BITS | kind;
}

static int compare(const void *first, const void *second)
{
	u32 a = *(const u32 *)first, b = *(const u32 *)second;

	return a < b ? -1 : a > b;
}

int lucos_tables_start(void)
{
	struct tables tables = tables_of_kernel();
	unsigned int count = 0;

	if (lucos_symbols.etext - lucos_symbols.stext > MAX_DISTANCE) {
		pr_err("the text of this kernel is too long\n");
		return -EFBIG;
	}
	visit(&tables, count_place, &count);
	places = kvmalloc_array(count, sizeof(*places), GFP_KERNEL);
	if (!places)
		return -ENOMEM;
	place_count = 0;
	visit(&tables, keep_place, NULL);
	sort(places, place_count, sizeof(*places), compare, NULL);
	return 0;
}

void lucos_tables_stop(void)
{
	kvfree(places);
}

/* Whether a jump label is on or off, it is as long as it was made. */
static unsigned int label_size(unsigned long address)
{
	u8 first = *(const u8 *)address;

	return first == SHORT_JUMP || first == SHORT_NOP ? SHORT_SIZE :
							   LONG_SIZE;
}

/* The bits of those of `size` bytes from `address` on that are looked at. */
static u16 bits(const struct lucos_bytes *bytes, unsigned long address,
		unsigned int size)
{
	u16 found = 0;

	for (; size; size--, address++)
		if (address - bytes->start < LUCOS_LOOKED_AT)
			found |= BIT(address - bytes->start);
	return found;
}

/* Notes what is near enough to be about one of the bytes. */
static void note_bytes(void *context, enum kind kind, unsigned long address)
{
	struct lucos_bytes *bytes = context;

	if (address - (bytes->start - LONG_SIZE) >= LUCOS_LOOKED_AT + LONG_SIZE)
		return;
	switch (kind) {
	case JUMP_LABEL:
		bytes->jump_labels |= bits(bytes, address, label_size(address));
		break;
	case STATIC_CALL:
		bytes->static_calls |= bits(bytes, address, LONG_SIZE);
		break;
	case EXCEPTION:
		bytes->exceptions |= bits(bytes, address, 1);
		break;
	case BUG_OR_WARN:
		bytes->bugs |= bits(bytes, address, 1);
		break;
	case BRANCH:
		bytes->branches |= bits(bytes, address, 1);
		break;
	}
}

/* The first of the places that is not below a distance. */
static unsigned int first_place(unsigned long distance)
{
	unsigned int low = 0, high = place_count;

	while (low < high) {
		unsigned int middle = low + (high - low) / 2;

		if (places[middle] >> KIND_BITS < distance)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void visit_places(struct lucos_bytes *bytes)
{
	unsigned long text = (unsigned long)lucos_symbols.stext;
	unsigned long start = bytes->start - text;
	unsigned int i;

	for (i = first_place(start < LONG_SIZE ? 0 : start - LONG_SIZE);
	     i < place_count; i++) {
		unsigned long distance = places[i] >> KIND_BITS;

		if (distance >= start + LUCOS_LOOKED_AT)
			break;
		note_bytes(bytes, places[i] & (BIT(KIND_BITS) - 1),
			   text + distance);
	}
}

/* The kernel keeps these only where it may have to put LOCK prefixes back. */
static void note_alternatives(struct lucos_bytes *bytes)
{
	unsigned long end = bytes->start + LUCOS_LOOKED_AT;
	unsigned long address;

	mutex_lock(lucos_symbols.text_mutex);
	if (lucos_symbols.alternatives_text_reserved((void *)bytes->start,
						     (void *)end))
		for (address = bytes->start; address < end; address++)
			if (lucos_symbols.alternatives_text_reserved(
				    (void *)address, (void *)(address + 1)))
				bytes->alternatives |= bits(bytes, address, 1);
	mutex_unlock(lucos_symbols.text_mutex);
}

void lucos_tables_look(struct lucos_bytes *bytes, const struct module *owner,
		       unsigned long start)
{
	*bytes = (struct lucos_bytes) { .start = start };
	/* Nobody switches a jump label while its size is read. */
	lucos_symbols.jump_label_lock();
	if (owner) {
		struct tables tables = tables_of(owner);

		visit(&tables, note_bytes, bytes);
	} else {
		visit_places(bytes);
	}
	lucos_symbols.jump_label_unlock();
	note_alternatives(bytes);
}
