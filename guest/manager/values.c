// SPDX-License-Identifier: GPL-2.0
/* The values of a patch: bytes of the kernel's objects that it changes. */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/string.h>

#include "patch_records.h"
#include "values.h"

/* Most bytes of what an author calls a value; several records make it. */
#define LONGEST_VALUE (LUCOS_MAX_VALUES * LUCOS_VALUE_SIZE)

static const u8 all_bits[LUCOS_VALUE_SIZE] = {
	[0 ... LUCOS_VALUE_SIZE - 1] = 0xff,
};

static const struct lucos_patch_value *value_at(const struct lucos_patch *patch,
						unsigned int index)
{
	return ((const struct lucos_patch_value **)patch->values)[index];
}

static bool is_inside(const struct module *module, u64 start, size_t size)
{
	return within_module(start, module) &&
	       within_module(start + size - 1, module);
}

static bool check_one(const struct lucos_patch_value *value,
		      const struct module *module,
		      struct lucos_failure *failure)
{
	if (!is_inside(module, (unsigned long)value, sizeof(*value)) ||
	    strnlen(value->name, sizeof(value->name)) == sizeof(value->name))
		return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
				  "values", 0);
	if (!value->address)
		return lucos_fail(failure, LUCOS_ERROR_NOT_LOADED_BY_LUCOS,
				  value->name, 0);
	if (!value->length || value->length > LONGEST_VALUE ||
	    !is_inside(module, value->old, value->length) ||
	    !is_inside(module, value->new, value->length) ||
	    (value->mask && !is_inside(module, value->mask, value->length)))
		return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
				  value->name, value->length);
	return true;
}

bool lucos_values_check(const struct lucos_patch *patch,
			const struct module *module,
			struct lucos_failure *failure)
{
	unsigned int i;

	for (i = 0; i < lucos_patch_values(patch); i++)
		if (!check_one(value_at(patch, i), module, failure))
			return false;
	return true;
}

/*
 * Makes the record of the next bytes of a value that the patch changes or wants
 * to see, from an offset on. Gives the offset behind them; the record has no
 * bytes when there are none.
 */
static u32 next_piece(const struct lucos_patch_value *value, u32 from,
		      struct lucos_value *piece)
{
	u32 end = min_t(u32, value->length, from + LUCOS_VALUE_SIZE);
	const u8 *old = (const u8 *)value->old + from;
	const u8 *new = (const u8 *)value->new + from;
	const u8 *mask = value->mask ? (const u8 *)value->mask + from : all_bits;
	u32 first = 0, last = end - from, i;

	while (first < last && !mask[first])
		first++;
	while (last > first && !mask[last - 1])
		last--;
	memset(piece, 0, sizeof(*piece));
	piece->address = value->address + from + first;
	piece->length = last - first;
	piece->flags = value->flags;
	for (i = first; i < last; i++) {
		piece->mask[i - first] = mask[i];
		piece->old[i - first] = old[i] & mask[i];
		piece->new[i - first] = new[i] & mask[i];
	}
	return end;
}

/* What is called a name has no blanks and so on; an expression may. */
static void set_name(struct lucos_value *piece, const char *expression)
{
	unsigned int length = 0;

	for (; *expression && length < sizeof(piece->name) - 1; expression++)
		if (isascii(*expression) && isgraph(*expression))
			piece->name[length++] = *expression;
	if (!length)
		strscpy(piece->name, "value", sizeof(piece->name));
}

/* A way through the records of all values of a patch. */
struct walk {
	const struct lucos_patch *patch;
	unsigned int index;
	u32 from;
};

/* Makes the next record; false behind the last one. */
static bool next_record(struct walk *walk, struct lucos_value *piece)
{
	while (walk->index < lucos_patch_values(walk->patch)) {
		const struct lucos_patch_value *value =
			value_at(walk->patch, walk->index);

		if (walk->from >= value->length) {
			walk->index++;
			walk->from = 0;
			continue;
		}
		walk->from = next_piece(value, walk->from, piece);
		if (!piece->length)
			continue;
		set_name(piece, value->name);
		return true;
	}
	return false;
}

unsigned int lucos_values_count(const struct lucos_patch *patch)
{
	struct walk walk = { .patch = patch };
	struct lucos_value piece;
	unsigned int count = 0;

	while (next_record(&walk, &piece))
		count++;
	return count;
}

void lucos_values_fill(const struct lucos_patch *patch,
		       struct lucos_value *values)
{
	struct walk walk = { .patch = patch };
	struct lucos_value piece;

	while (next_record(&walk, &piece))
		*values++ = piece;
}

void lucos_values_name(const struct lucos_patch *patch, unsigned int index,
		       char name[LUCOS_NAME_SIZE])
{
	struct walk walk = { .patch = patch };
	struct lucos_value piece;

	while (next_record(&walk, &piece))
		if (!index--)
			strscpy(name, piece.name, LUCOS_NAME_SIZE);
}

static bool share_bits(const struct lucos_value *a, const struct lucos_value *b)
{
	u32 i;

	for (i = 0; i < a->length; i++) {
		u64 offset = a->address + i - b->address;

		if (offset < b->length && a->mask[i] & b->mask[offset])
			return true;
	}
	return false;
}

bool lucos_values_meet(const struct lucos_patch *a, const struct lucos_patch *b)
{
	struct walk of_a = { .patch = a };
	struct lucos_value one, other;

	while (next_record(&of_a, &one)) {
		struct walk of_b = { .patch = b };

		while (next_record(&of_b, &other))
			if (share_bits(&one, &other))
				return true;
	}
	return false;
}

bool lucos_values_publish(const struct lucos_patch *patch,
			  const struct module *module)
{
	unsigned long word;
	unsigned int i;
	u32 at;

	for (i = 0; i < lucos_patch_values(patch); i++) {
		const struct lucos_patch_value *value = value_at(patch, i);
		const u8 *new = (const u8 *)value->new;

		for (at = 0; at + sizeof(word) <= value->length; at++) {
			memcpy(&word, new + at, sizeof(word));
			if (within_module(word, module))
				return true;
		}
	}
	return false;
}
