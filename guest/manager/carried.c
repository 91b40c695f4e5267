// SPDX-License-Identifier: GPL-2.0
/*
 * Twins of objects that the kernel makes and frees, whose state is carried.
 *
 * Most are made before new code comes into force, for the objects that the
 * author's walk finds. An object that the walk does not find, since it is just
 * being made, gets its twin when new code first asks for it; while old code may
 * still write to it, LUCOS fills the twin and guards both.
 */
#include <linux/export.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <lucos/version.h>

#include "carried.h"
#include "lists.h"
#include "registration.h"
#include "registry.h"
#include "twin_table.h"

/* How often LUCOS is asked about a pair while it is busy: it may not sleep. */
#define BUSY_TRIES 10000

/* How often it is asked to end a pair. */
#define UNPAIR_TRIES 3

struct carried {
	struct lucos_table_entry entry;
	struct list_head reserve;	/* or among those that are stuck */
	struct rcu_head rcu;
	void *twin;		/* or per-CPU memory */
	unsigned int round;	/* the last walk that found its object */
	bool is_stuck;		/* LUCOS goes on carrying it until it has settled */
	struct lucos_version *version;
};

/* What the manager has for a version with instances. */
struct lucos_carried {
	struct lucos_twin_table table;
	struct kmem_cache *cache;	/* twins, on pages of their own */
	struct list_head reserve;	/* twins that nobody has */
	struct list_head stuck;	/* twins of nobody that LUCOS still carries */
	u32 index;		/* of the version in the patch */
	u32 number;		/* of the patch; 0: LUCOS has not said it yet */
	bool closed;		/* no object gets a twin now */
	unsigned int round;	/* the walks so far */
};

/* A way through all objects. */
struct lucos_walk {
	struct lucos_version *version;
	void (*found)(struct lucos_walk *walk, void *object);
	struct lucos_lists *lists;
	unsigned int count;
	bool enough;
};

void lucos_found(struct lucos_walk *walk, void *object)
{
	walk->found(walk, object);
}
EXPORT_SYMBOL_GPL(lucos_found);

/* A cache whose objects are constructed shares its pages with no other. */
static void leave_as_it_is(void *twin)
{
}

static void *allocate(const struct lucos_version *version, gfp_t gfp)
{
	void *twin;

	if (version->per_cpu)
		return (void __force *)__alloc_percpu_gfp(version->twin_size,
							  version->twin_alignment,
							  gfp);
	twin = kmem_cache_alloc(version->carried->cache, gfp);
	if (twin)
		memset(twin, 0, version->twin_size);
	return twin;
}

static void free_carried(struct carried *carried)
{
	const struct lucos_version *version = carried->version;

	if (version->per_cpu)
		free_percpu((void __percpu __force *)carried->twin);
	else if (carried->twin)
		kmem_cache_free(version->carried->cache, carried->twin);
	kfree(carried);
}

static void free_later(struct rcu_head *rcu)
{
	free_carried(container_of(rcu, struct carried, rcu));
}

static struct carried *new_carried(struct lucos_version *version, gfp_t gfp)
{
	struct carried *carried = kzalloc(sizeof(*carried), gfp);

	if (!carried)
		return NULL;
	carried->version = version;
	carried->twin = allocate(version, gfp);
	if (carried->twin)
		return carried;
	kfree(carried);
	return NULL;
}

/* In a section of readers, or with the table's lock. */
static __always_inline struct carried *look_up(const struct lucos_version *version,
					       const void *object)
{
	struct lucos_table_entry *entry =
		lucos_table_find(&version->carried->table, object);

	return entry ? container_of(entry, struct carried, entry) : NULL;
}

notrace void *lucos_carried_find(const struct lucos_version *version,
				 const void *object)
{
	struct carried *carried;

	rcu_read_lock_sched_notrace();
	carried = look_up(version, object);
	rcu_read_unlock_sched_notrace();
	return carried ? carried->twin : NULL;
}
EXPORT_SYMBOL_GPL(lucos_carried_find);

/* One side of a pair as processor `cpu` has it. */
static void *side_of(const struct lucos_version *version, const void *side,
		     int cpu)
{
	return version->per_cpu ?
		       per_cpu_ptr((void __percpu __force *)side, cpu) :
		       (void *)side;
}

/* PAIR or UNPAIR; gives 0 or an error code. */
static u32 ask(enum lucos_call call, const struct carried *carried, int cpu)
{
	const struct lucos_version *version = carried->version;
	struct lucos_failure failure;
	unsigned int tries = 0;
	struct lucos_pair pair = {
		.number = version->carried->number,
		.version = version->carried->index,
		.object = (unsigned long)side_of(version, carried->entry.object,
						 cpu),
		.twin = (unsigned long)side_of(version, carried->twin, cpu),
	};

	for (;;) {
		struct lucos_registers registers = {
			.rcx = (unsigned long)&pair,
		};

		if (lucos_registered_hypercall(call, &registers, &failure))
			return 0;
		if (failure.code != LUCOS_ERROR_BUSY || tries++ == BUSY_TRIES)
			return failure.code;
		cpu_relax();
	}
}

/* The twin of one pair is what its object is, and stays so; gives an error code. */
static u32 pair_one(const struct carried *carried, int cpu)
{
	const struct lucos_version *version = carried->version;
	u32 error = ask(LUCOS_CALL_PAIR, carried, cpu);

	if (error != LUCOS_ERROR_SETTLED)
		return error;
	/* Nobody is in old code: nothing is carried. */
	return version->to_new(side_of(version, carried->twin, cpu),
			       side_of(version, carried->entry.object, cpu)) ?
		       LUCOS_ERROR_TRANSFER_REFUSED :
		       0;
}

/* Whether LUCOS carries the pair no more. */
static bool try_unpair(const struct carried *carried, int cpu)
{
	switch (ask(LUCOS_CALL_UNPAIR, carried, cpu)) {
	case 0:
	/* There is no such pair, or nothing of the patch is carried. */
	case LUCOS_ERROR_ARGUMENT:
	case LUCOS_ERROR_NOT_APPLIED:
	case LUCOS_ERROR_SETTLED:
	case LUCOS_ERROR_UNKNOWN_PATCH:
		return true;
	}
	return false;
}

/* The object goes now: it cannot be tried later. */
static void unpair_one(struct carried *carried, int cpu)
{
	unsigned int tries;

	for (tries = 0; tries < UNPAIR_TRIES; tries++)
		if (try_unpair(carried, cpu))
			return;
	carried->is_stuck = true;
}

/* All pairs of an object, or none. */
static bool pair_all(struct carried *carried)
{
	int cpu, other;

	if (!carried->version->per_cpu)
		return !pair_one(carried, 0);
	for_each_possible_cpu(cpu) {
		if (!pair_one(carried, cpu))
			continue;
		for_each_possible_cpu(other) {
			if (other == cpu)
				return false;
			unpair_one(carried, other);
		}
	}
	return true;
}

/* With the table's lock. */
static void unpair_all(struct carried *carried)
{
	int cpu;

	if (!carried->version->per_cpu) {
		unpair_one(carried, 0);
		return;
	}
	for_each_possible_cpu(cpu)
		unpair_one(carried, cpu);
}

/* With the table's lock: a twin that nobody has is freed, as soon as it may be. */
static void retire(struct carried *carried)
{
	if (carried->is_stuck)
		list_add(&carried->reserve, &carried->version->carried->stuck);
	else
		call_rcu(&carried->rcu, free_later);
}

/*
 * With the table's lock, so that there is one twin of an object. The manager
 * hears the patch's number with interrupts off, right behind the moment in which
 * new code may run: so it is not waited for long.
 */
static struct carried *insert(struct carried *carried)
{
	struct lucos_carried *kind = carried->version->carried;
	struct carried *other = look_up(carried->version, carried->entry.object);

	if (other)
		return other;
	while (!smp_load_acquire(&kind->number))
		cpu_relax();
	if (kind->closed || !pair_all(carried))
		return NULL;
	carried->round = kind->round;
	lucos_table_add(&kind->table, &carried->entry);
	return carried;
}

void *lucos_carried_get(struct lucos_version *version, void *object, gfp_t gfp)
{
	void *twin = lucos_carried_find(version, object);
	struct carried *carried, *taken;
	unsigned long flags;

	if (twin)
		return twin;
	carried = new_carried(version, gfp);
	if (!carried)
		return NULL;
	carried->entry.object = object;
	raw_spin_lock_irqsave(&version->carried->table.lock, flags);
	taken = insert(carried);
	if (taken != carried)
		retire(carried);
	raw_spin_unlock_irqrestore(&version->carried->table.lock, flags);
	return taken ? taken->twin : NULL;
}
EXPORT_SYMBOL_GPL(lucos_carried_get);

void lucos_carried_free(struct lucos_version *version, const void *object)
{
	struct lucos_carried *kind = version->carried;
	struct carried *carried;
	unsigned long flags;

	raw_spin_lock_irqsave(&kind->table.lock, flags);
	carried = look_up(version, object);
	if (carried) {
		unpair_all(carried);
		lucos_table_remove(&kind->table, &carried->entry);
		retire(carried);
	}
	raw_spin_unlock_irqrestore(&kind->table.lock, flags);
}
EXPORT_SYMBOL_GPL(lucos_carried_free);

/* With the author's lock. What is made meanwhile counts as found. */
static void walk_objects(struct lucos_walk *walk)
{
	struct lucos_carried *kind = walk->version->carried;
	unsigned long flags;

	raw_spin_lock_irqsave(&kind->table.lock, flags);
	kind->round++;
	raw_spin_unlock_irqrestore(&kind->table.lock, flags);
	walk->count = 0;
	walk->enough = true;
	walk->version->walk(walk);
}

/*
 * The twin of an object that the walk has found for the first time. New code may
 * free it only with its object, which the author's lock keeps.
 */
static struct carried *found_first(const struct lucos_walk *walk, void *object)
{
	struct lucos_carried *kind = walk->version->carried;
	struct carried *carried;

	rcu_read_lock();
	carried = look_up(walk->version, object);
	rcu_read_unlock();
	if (!carried || carried->round == kind->round)
		return NULL;
	carried->round = kind->round;
	return carried;
}

static void count_object(struct lucos_walk *walk, void *object)
{
	walk->count++;
}

unsigned int lucos_carried_objects(struct lucos_version *version)
{
	struct lucos_walk walk = { .version = version, .found = count_object };

	version->lock();
	walk_objects(&walk);
	version->unlock();
	return walk.count;
}

bool lucos_carried_reserve(struct lucos_version *version, unsigned int count)
{
	while (count--) {
		struct carried *carried = new_carried(version, GFP_KERNEL);

		if (!carried)
			return false;
		list_add(&carried->reserve, &version->carried->reserve);
		cond_resched();
	}
	return true;
}

static void free_list(struct list_head *list)
{
	struct carried *carried, *next;

	list_for_each_entry_safe(carried, next, list, reserve) {
		list_del(&carried->reserve);
		free_carried(carried);
	}
}

void lucos_carried_unreserve(struct lucos_version *version)
{
	free_list(&version->carried->reserve);
}

void lucos_carried_settled(struct lucos_version *version)
{
	struct lucos_carried *kind = version->carried;
	unsigned long flags;
	LIST_HEAD(stuck);

	raw_spin_lock_irqsave(&kind->table.lock, flags);
	list_splice_init(&kind->stuck, &stuck);
	raw_spin_unlock_irqrestore(&kind->table.lock, flags);
	if (list_empty(&stuck))
		return;
	synchronize_rcu();
	free_list(&stuck);
}

static bool add_pairs(struct lucos_lists *lists, const struct carried *carried)
{
	const struct lucos_version *version = carried->version;
	int cpu;

	if (!version->per_cpu)
		return lucos_lists_add(lists, carried->entry.object,
				       carried->twin);
	for_each_possible_cpu(cpu)
		if (!lucos_lists_add(lists,
				     side_of(version, carried->entry.object, cpu),
				     side_of(version, carried->twin, cpu)))
			return false;
	return true;
}

/* Nobody runs new code yet, so nobody else looks into the table. */
static void give_twin(struct lucos_walk *walk, void *object)
{
	struct lucos_carried *kind = walk->version->carried;
	struct carried *carried;

	if (!walk->enough || look_up(walk->version, object))
		return;
	carried = list_first_entry_or_null(&kind->reserve, struct carried,
					   reserve);
	if (!carried) {
		walk->enough = false;
		return;
	}
	list_del(&carried->reserve);
	carried->entry.object = object;
	lucos_table_add(&kind->table, &carried->entry);
	walk->enough = add_pairs(walk->lists, carried);
}

/* An object without a twin is up to date. */
static void list_twin(struct lucos_walk *walk, void *object)
{
	struct carried *carried = found_first(walk, object);

	if (carried && walk->enough)
		walk->enough = add_pairs(walk->lists, carried);
}

bool lucos_carried_list(struct lucos_version *version,
			struct lucos_lists *lists, enum lucos_direction to)
{
	struct lucos_carried *kind = version->carried;
	struct lucos_walk walk = {
		.version = version,
		.found = to == LUCOS_TO_TWINS ? give_twin : list_twin,
		.lists = lists,
	};
	unsigned long flags;

	raw_spin_lock_irqsave(&kind->table.lock, flags);
	if (to == LUCOS_TO_TWINS)
		kind->number = 0;
	else
		kind->closed = true;
	raw_spin_unlock_irqrestore(&kind->table.lock, flags);
	walk_objects(&walk);
	return walk.enough;
}

void lucos_carried_answered(struct lucos_version *version, u32 number)
{
	smp_store_release(&version->carried->number, number);
}

void lucos_carried_open(struct lucos_version *version)
{
	struct lucos_carried *kind = version->carried;
	unsigned long flags;

	raw_spin_lock_irqsave(&kind->table.lock, flags);
	kind->closed = false;
	raw_spin_unlock_irqrestore(&kind->table.lock, flags);
}

static void mark_found(struct lucos_walk *walk, void *object)
{
	found_first(walk, object);
}

static void for_each_carried(struct lucos_version *version,
			     void (*act)(struct carried *carried))
{
	struct lucos_twin_table *table = &version->carried->table;
	struct carried *carried;
	struct hlist_node *next;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(table->heads); i++)
		hlist_for_each_entry_safe(carried, next, &table->heads[i],
					  entry.link)
			act(carried);
}

static void drop_unfound(struct carried *carried)
{
	if (carried->round == carried->version->carried->round)
		return;
	unpair_all(carried);
	lucos_table_remove(&carried->version->carried->table, &carried->entry);
	retire(carried);
}

void lucos_carried_reconcile(struct lucos_version *version)
{
	struct lucos_walk walk = { .version = version, .found = mark_found };
	raw_spinlock_t *lock = &version->carried->table.lock;
	unsigned long flags;

	version->lock();
	walk_objects(&walk);
	raw_spin_lock_irqsave(lock, flags);
	for_each_carried(version, drop_unfound);
	raw_spin_unlock_irqrestore(lock, flags);
	version->unlock();
}

unsigned long lucos_carried_count(const struct lucos_version *version)
{
	return READ_ONCE(version->carried->table.count);
}

static void drop(struct carried *carried)
{
	hlist_del(&carried->entry.link);
	free_carried(carried);
}

void lucos_carried_drop_all(struct lucos_version *version)
{
	for_each_carried(version, drop);
	version->carried->table.count = 0;
}

static struct lucos_carried *make_table(const struct loaded_patch *loaded,
					u32 index)
{
	const struct lucos_version *version =
		lucos_versions_get(loaded->patch, index);
	struct lucos_carried *kind = kvzalloc(sizeof(*kind), GFP_KERNEL);

	if (!kind)
		return NULL;
	raw_spin_lock_init(&kind->table.lock);
	INIT_LIST_HEAD(&kind->reserve);
	INIT_LIST_HEAD(&kind->stuck);
	kind->index = index;
	if (version->per_cpu)
		return kind;
	kind->cache = kmem_cache_create(version->name, version->twin_size,
					version->twin_alignment, 0,
					leave_as_it_is);
	if (kind->cache)
		return kind;
	kvfree(kind);
	return NULL;
}

static void free_table(struct lucos_version *version)
{
	if (!version->carried)
		return;
	lucos_carried_drop_all(version);
	lucos_carried_unreserve(version);
	lucos_carried_settled(version);
	/* Those that are freed later. */
	rcu_barrier();
	kmem_cache_destroy(version->carried->cache);
	kvfree(version->carried);
	version->carried = NULL;
}

bool lucos_carried_tables_make(struct loaded_patch *loaded,
			       struct lucos_failure *failure)
{
	unsigned int i;

	for (i = 0; i < lucos_versions_count(loaded->patch); i++) {
		struct lucos_version *version =
			lucos_versions_get(loaded->patch, i);

		if (version->count)
			continue;
		version->carried = make_table(loaded, i);
		if (!version->carried)
			return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY,
					  version->name, 0);
	}
	return true;
}

void lucos_carried_tables_free(struct loaded_patch *loaded)
{
	unsigned int i;

	for (i = 0; i < lucos_versions_count(loaded->patch); i++)
		free_table(lucos_versions_get(loaded->patch, i));
}
