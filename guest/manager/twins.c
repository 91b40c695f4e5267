// SPDX-License-Identifier: GPL-2.0
/*
 * The twins of a patch: state that it keeps beside objects of the kernel.
 *
 * A table for each kind, by the object's address. Readers take no lock, so
 * they may be in an NMI; writers hold the table's, with interrupts off, so they
 * may be in an interrupt. (The kernel's own table of that kind, rhashtable,
 * takes a lock in 6.1 that interrupts must not take.)
 */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/rculist.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include <lucos/twin.h>

#include "module_text.h"
#include "patch_records.h"
#include "registry.h"
#include "twins.h"

/* 4,096 heads: with ten thousand twins a look-up reads two or three. */
#define TABLE_BITS 12

struct lucos_twin_table {
	raw_spinlock_t lock;	/* for every change of what follows */
	unsigned long count;
	struct hlist_head heads[1 << TABLE_BITS];
};

struct twin {
	struct hlist_node link;
	const void *object;
	struct rcu_head rcu;
	u8 memory[] __aligned(ARCH_KMALLOC_MINALIGN);
};

static struct hlist_head *head_of(const struct lucos_twins *twins,
				  const void *object)
{
	return &twins->table->heads[hash_ptr(object, TABLE_BITS)];
}

/* In a section of readers, or with the table's lock. */
static notrace struct twin *look_up(const struct lucos_twins *twins,
				    const void *object)
{
	struct twin *twin;

	hlist_for_each_entry_rcu_notrace(twin, head_of(twins, object), link)
		if (twin->object == object)
			return twin;
	return NULL;
}

notrace void *lucos_twin_find(const struct lucos_twins *twins,
			      const void *object)
{
	struct twin *twin;

	rcu_read_lock_sched_notrace();
	twin = look_up(twins, object);
	rcu_read_unlock_sched_notrace();
	return twin ? twin->memory : NULL;
}
EXPORT_SYMBOL_GPL(lucos_twin_find);

/* Puts a twin into the table; gives the one that is there already, or NULL. */
static struct twin *insert(struct lucos_twins *twins, struct twin *twin)
{
	struct lucos_twin_table *table = twins->table;
	struct twin *other;
	unsigned long flags;

	raw_spin_lock_irqsave(&table->lock, flags);
	other = look_up(twins, twin->object);
	if (!other) {
		hlist_add_head_rcu(&twin->link, head_of(twins, twin->object));
		WRITE_ONCE(table->count, table->count + 1);
	}
	raw_spin_unlock_irqrestore(&table->lock, flags);
	return other;
}

static void *make(struct lucos_twins *twins, void *object, gfp_t gfp)
{
	struct twin *twin, *other;

	twin = kzalloc(sizeof(*twin) + twins->size, gfp);
	if (!twin)
		return NULL;
	twin->object = object;
	if (twins->make(twin->memory, object)) {
		kfree(twin);
		return NULL;
	}
	other = insert(twins, twin);
	if (!other)
		return twin->memory;
	twins->drop(twin->memory);
	kfree(twin);
	return other->memory;
}

void *lucos_twin_get(struct lucos_twins *twins, void *object, gfp_t gfp)
{
	return lucos_twin_find(twins, object) ?: make(twins, object, gfp);
}
EXPORT_SYMBOL_GPL(lucos_twin_get);

void lucos_twin_free(struct lucos_twins *twins, const void *object)
{
	struct lucos_twin_table *table = twins->table;
	unsigned long flags;
	struct twin *twin;

	raw_spin_lock_irqsave(&table->lock, flags);
	twin = look_up(twins, object);
	if (twin) {
		hlist_del_rcu(&twin->link);
		WRITE_ONCE(table->count, table->count - 1);
	}
	raw_spin_unlock_irqrestore(&table->lock, flags);
	if (!twin)
		return;
	twins->drop(twin->memory);
	kfree_rcu(twin, rcu);
}
EXPORT_SYMBOL_GPL(lucos_twin_free);

static bool kind_is_valid(const struct lucos_twins *twins,
			  const struct module *module)
{
	return within_module((unsigned long)twins, module) &&
	       within_module((unsigned long)(twins + 1) - 1, module) &&
	       within_module((unsigned long)twins->name, module) &&
	       twins->size <= LUCOS_TWIN_SIZE_MAX &&
	       lucos_module_has_code(module, (unsigned long)twins->make) &&
	       lucos_module_has_code(module, (unsigned long)twins->drop) &&
	       !twins->table;
}

bool lucos_twins_check(const struct lucos_patch *patch,
		       const struct module *module,
		       struct lucos_failure *failure)
{
	const u64 *kinds = (const u64 *)patch->twins;
	unsigned int i;

	for (i = 0; i < lucos_patch_twins(patch); i++)
		if (!kind_is_valid((struct lucos_twins *)kinds[i], module))
			return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
					  "kind of twins", i);
	return true;
}

unsigned int lucos_twins_kinds(const struct loaded_patch *loaded)
{
	return lucos_patch_twins(loaded->patch);
}

struct lucos_twins *lucos_twins_kind(const struct loaded_patch *loaded,
				     unsigned int index)
{
	const u64 *kinds = (const u64 *)loaded->patch->twins;

	return (struct lucos_twins *)kinds[index];
}

unsigned long lucos_twins_count(const struct lucos_twins *twins)
{
	return READ_ONCE(twins->table->count);
}

bool lucos_twins_any(const struct loaded_patch *loaded)
{
	unsigned int i;

	for (i = 0; i < lucos_twins_kinds(loaded); i++)
		if (lucos_twins_count(lucos_twins_kind(loaded, i)))
			return true;
	return false;
}

bool lucos_twin_tables_make(struct loaded_patch *loaded,
		       struct lucos_failure *failure)
{
	unsigned int i;

	for (i = 0; i < lucos_twins_kinds(loaded); i++) {
		struct lucos_twins *twins = lucos_twins_kind(loaded, i);

		twins->table = kvzalloc(sizeof(*twins->table), GFP_KERNEL);
		if (!twins->table)
			return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY,
					  twins->name, 0);
		raw_spin_lock_init(&twins->table->lock);
	}
	return true;
}

/* Without the lock: nobody is in the code that could make or free one. */
static void drop_kind(struct lucos_twins *twins)
{
	struct hlist_node *next;
	struct twin *twin;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(twins->table->heads); i++) {
		hlist_for_each_entry_safe(twin, next, &twins->table->heads[i],
					  link) {
			hlist_del(&twin->link);
			twins->drop(twin->memory);
			kfree(twin);
		}
		cond_resched();
	}
	twins->table->count = 0;
}

void lucos_twins_drop_all(struct loaded_patch *loaded)
{
	unsigned int i;

	for (i = 0; i < lucos_twins_kinds(loaded); i++)
		drop_kind(lucos_twins_kind(loaded, i));
}

void lucos_twin_tables_free(struct loaded_patch *loaded)
{
	unsigned int i;

	for (i = 0; i < lucos_twins_kinds(loaded); i++) {
		struct lucos_twins *twins = lucos_twins_kind(loaded, i);

		if (twins->table)
			drop_kind(twins);
		kvfree(twins->table);
		twins->table = NULL;
	}
}
