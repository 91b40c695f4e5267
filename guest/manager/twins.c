// SPDX-License-Identifier: GPL-2.0
/* The twins of a patch: state that it keeps beside objects of the kernel. */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include <lucos/twin.h>

#include "module_text.h"
#include "patch_records.h"
#include "registry.h"
#include "twin_table.h"
#include "twins.h"

struct twin {
	struct lucos_table_entry entry;
	struct rcu_head rcu;
	u8 memory[] __aligned(ARCH_KMALLOC_MINALIGN);
};

/* In a section of readers, or with the table's lock. */
static notrace struct twin *look_up(const struct lucos_twins *twins,
				    const void *object)
{
	struct lucos_table_entry *entry = lucos_table_find(twins->table, object);

	return entry ? container_of(entry, struct twin, entry) : NULL;
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
	other = look_up(twins, twin->entry.object);
	if (!other)
		lucos_table_add(table, &twin->entry);
	raw_spin_unlock_irqrestore(&table->lock, flags);
	return other;
}

static void *make(struct lucos_twins *twins, void *object, gfp_t gfp)
{
	struct twin *twin, *other;

	twin = kzalloc(sizeof(*twin) + twins->size, gfp);
	if (!twin)
		return NULL;
	twin->entry.object = object;
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
	if (twin)
		lucos_table_remove(table, &twin->entry);
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
					  entry.link) {
			hlist_del(&twin->entry.link);
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
