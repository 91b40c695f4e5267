/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A table of what a patch has beside objects of the kernel, by the object's
 * address. Readers take no lock, so they may be in an NMI; writers hold the
 * table's, with interrupts off, so they may be in an interrupt. (The kernel's own
 * table of that kind, rhashtable, takes a lock in 6.1 that interrupts must not
 * take.)
 */
#ifndef LUCOS_MANAGER_TWIN_TABLE_H
#define LUCOS_MANAGER_TWIN_TABLE_H

#include <linux/hash.h>
#include <linux/rculist.h>
#include <linux/spinlock.h>

/* 4,096 heads: with ten thousand entries a look-up reads two or three. */
#define LUCOS_TABLE_BITS 12

struct lucos_twin_table {
	raw_spinlock_t lock;	/* for every change of what follows */
	unsigned long count;
	struct hlist_head heads[1 << LUCOS_TABLE_BITS];
};

struct lucos_table_entry {
	struct hlist_node link;
	const void *object;
};

static inline struct hlist_head *
lucos_table_head(struct lucos_twin_table *table, const void *object)
{
	return &table->heads[hash_ptr(object, LUCOS_TABLE_BITS)];
}

/* In a section of readers, or with the table's lock. */
static __always_inline struct lucos_table_entry *
lucos_table_find(struct lucos_twin_table *table, const void *object)
{
	struct lucos_table_entry *entry;

	hlist_for_each_entry_rcu_notrace(entry, lucos_table_head(table, object),
					 link)
		if (entry->object == object)
			return entry;
	return NULL;
}

/* With the table's lock, for an object that is not in it. */
static inline void lucos_table_add(struct lucos_twin_table *table,
				   struct lucos_table_entry *entry)
{
	hlist_add_head_rcu(&entry->link, lucos_table_head(table, entry->object));
	WRITE_ONCE(table->count, table->count + 1);
}

/* With the table's lock. Readers may go on using the entry for a while. */
static inline void lucos_table_remove(struct lucos_twin_table *table,
				      struct lucos_table_entry *entry)
{
	hlist_del_rcu(&entry->link);
	WRITE_ONCE(table->count, table->count - 1);
}

#endif
