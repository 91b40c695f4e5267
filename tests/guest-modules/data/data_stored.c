// SPDX-License-Identifier: GPL-2.0
/* The entries of stores.h in another order, with a number that only new code has. */
#include <linux/delay.h>
#include <linux/string.h>

#include <lucos/version.h>

#include "stores.h"

struct new_entry {
	struct store_cell own[STORE_WRITERS];	/* the last one first */
	u64 writes;				/* of new code */
	struct store_cell shared;
};

static struct new_entry entries[STORE_KINDS] LUCOS_TWIN_VARIABLE;

LUCOS_DATA_ARRAY(stored, stores_entries, entries);

LUCOS_TO_NEW(stored)
{
	unsigned int i;

	new->shared = old->shared;
	for (i = 0; i < STORE_WRITERS; i++)
		new->own[STORE_WRITERS - 1 - i] = old->own[i];
}

LUCOS_TO_OLD(stored)
{
	unsigned int i;

	old->shared = new->shared;
	for (i = 0; i < STORE_WRITERS; i++)
		old->own[i] = new->own[STORE_WRITERS - 1 - i];
}

/* A page's last four bytes, and four of the next. */
static struct store_pages pages LUCOS_TWIN_VARIABLE;

LUCOS_DATA(stored_across, stores_pages.number, pages.number);
LUCOS_TO_NEW(stored_across) { memcpy(*new, *old, sizeof(*new)); }
LUCOS_TO_OLD(stored_across) { memcpy(*old, *new, sizeof(*old)); }

LUCOS_REPLACE(stores_write, void, unsigned int writer, u64 n)
{
	unsigned int kind;

	for (kind = 0; kind < STORE_KINDS; kind++) {
		struct new_entry *entry = &entries[kind];

		stores_write_own(kind, &entry->own[STORE_WRITERS - 1 - writer],
				 n);
		stores_add_shared(kind, &entry->shared);
	}
	stores_add_across(pages.number);
}

LUCOS_REPLACE(stores_wrong, unsigned int, void)
{
	unsigned int kind, i, wrong = 0;
	u64 sum = 0;

	for (kind = 0; kind < STORE_KINDS; kind++) {
		const struct new_entry *entry = &entries[kind];

		wrong += !stores_is(&entry->shared, stores_sum(kind));
		for (i = 0; i < STORE_WRITERS; i++)
			wrong += !stores_is(&entry->own[STORE_WRITERS - 1 - i],
					    stores_expected(kind,
							    stores_counts[i]));
	}
	for (i = 0; i < STORE_WRITERS; i++)
		sum += stores_counts[i];
	return wrong + (*(u64 *)pages.number != sum);
}

LUCOS_REPLACE(stores_stay, void, void)
{
	while (READ_ONCE(stores_hold))
		msleep(20);
}

LUCOS_PATCH("data_stored", "entries in another order");
