// SPDX-License-Identifier: GPL-2.0
/*
 * The data versions of a patch: what the patch says of them, their pairs, and
 * what LUCOS is told.
 */
#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <lucos/version.h>

#include "carried.h"
#include "lists.h"
#include "module_text.h"
#include "patch_records.h"
#include "registry.h"
#include "versions.h"

/* How often objects may turn out to be more than there was room for. */
#define TRIES 5

struct lucos_asked lucos_versions_asked;

/* What upcalls may ask for. Changed under the registry's lock only. */
static LIST_HEAD(lent);

unsigned int lucos_versions_count(const struct lucos_patch *patch)
{
	return lucos_patch_versions(patch);
}

struct lucos_version *lucos_versions_get(const struct lucos_patch *patch,
					 unsigned int index)
{
	return ((struct lucos_version **)patch->versions)[index];
}

static const struct lucos_version_shared *
shared_at(const struct lucos_patch *patch, unsigned int index)
{
	return ((const struct lucos_version_shared **)patch->shared)[index];
}

void lucos_versions_name(const struct lucos_patch *patch, unsigned int index,
			 char name[LUCOS_NAME_SIZE])
{
	if (index < lucos_versions_count(patch))
		strscpy(name, lucos_versions_get(patch, index)->name,
			LUCOS_NAME_SIZE);
}

u32 lucos_version_flags(const struct lucos_version *version)
{
	return (*version->lossy ? LUCOS_DATA_FLAG_LOSSY : 0) |
	       (*version->clear_only ? LUCOS_DATA_FLAG_CLEAR_ONLY : 0) |
	       (version->per_cpu ? LUCOS_DATA_FLAG_PER_CPU : 0);
}

static bool is_inside(const struct module *module, const void *start,
		      size_t size)
{
	return within_module((unsigned long)start, module) &&
	       within_module((unsigned long)start + size - 1, module);
}

static bool size_is_valid(u32 size)
{
	return size && size <= LUCOS_MAX_INSTANCE_SIZE;
}

bool lucos_version_is_variable(const struct lucos_version *version)
{
	return version->count;
}

unsigned long lucos_version_twins(const struct lucos_version *version)
{
	return version->carried ? lucos_carried_count(version) : 0;
}

static bool instances_are_valid(const struct lucos_version *version,
				const struct module *module)
{
	return !version->object && !version->twin && !version->carried &&
	       version->lock && version->unlock &&
	       lucos_module_has_code(module, (unsigned long)version->walk);
}

/* An address of the kernel, or how far a per-CPU variable lies from its start. */
static bool variable_is_valid(const struct lucos_version *version)
{
	return version->twin && (version->object || version->per_cpu) &&
	       !(version->per_cpu && version->count != 1) &&
	       !version->lock && !version->walk && !version->unlock;
}

static bool version_is_valid(const struct lucos_version *version,
			     const struct module *module)
{
	return is_inside(module, version, sizeof(*version)) &&
	       is_inside(module, version->name, 1) &&
	       is_inside(module, version->lossy, sizeof(bool)) &&
	       is_inside(module, version->clear_only, sizeof(bool)) &&
	       size_is_valid(version->object_size) &&
	       size_is_valid(version->twin_size) &&
	       lucos_module_has_code(module, (unsigned long)version->to_new) &&
	       lucos_module_has_code(module, (unsigned long)version->to_old) &&
	       (lucos_version_is_variable(version) ? variable_is_valid(version) :
				       instances_are_valid(version, module));
}

static bool shared_is_valid(const struct lucos_patch *patch,
			    const struct lucos_version_shared *shared,
			    const struct module *module)
{
	unsigned int i;

	if (!is_inside(module, shared, sizeof(*shared)))
		return false;
	for (i = 0; i < lucos_versions_count(patch); i++)
		if (lucos_versions_get(patch, i) == shared->version)
			return true;
	return false;
}

bool lucos_versions_check(const struct lucos_patch *patch,
			  const struct module *module,
			  struct lucos_failure *failure)
{
	unsigned int i;

	for (i = 0; i < lucos_versions_count(patch); i++)
		if (!version_is_valid(lucos_versions_get(patch, i), module))
			return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
					  "data version", i);
	for (i = 0; i < lucos_versions_shared(patch); i++)
		if (!shared_is_valid(patch, shared_at(patch, i), module))
			return lucos_fail(failure, LUCOS_ERROR_PATCH_MALFORMED,
					  "shared field", i);
	return true;
}

bool lucos_versions_any(const struct loaded_patch *loaded)
{
	return lucos_versions_count(loaded->patch);
}

bool lucos_versions_clear_only(const struct loaded_patch *loaded)
{
	const u32 clear = LUCOS_DATA_FLAG_LOSSY |
			  LUCOS_DATA_FLAG_CLEAR_ONLY;
	unsigned int i;

	for (i = 0; i < lucos_versions_count(loaded->patch); i++)
		if (lucos_version_flags(lucos_versions_get(loaded->patch, i)) &
		    clear)
			return true;
	return false;
}

/* Nobody asks for the lists any more; a processor may be about to read them. */
static void free_lists(struct loaded_patch *loaded)
{
	unsigned int i;

	if (!loaded->lists)
		return;
	for (i = 0; i < lucos_versions_count(loaded->patch); i++)
		list_del_rcu(&loaded->lists[i].link);
	for (i = 0; i < lucos_versions_count(loaded->patch); i++)
		lucos_lists_free(&loaded->lists[i]);
	kvfree(loaded->lists);
	loaded->lists = NULL;
}

/* Pairs of one object. */
static unsigned int pairs_of_one(const struct lucos_version *version)
{
	return version->per_cpu ? num_possible_cpus() : 1;
}

/* Makes room for some more objects than there are now. */
static bool make_room_for_instances(struct lucos_lists *lists,
				    struct lucos_version *version,
				    enum lucos_direction to)
{
	unsigned int count = lucos_carried_objects(version);

	count += count / 4 + 1;
	if (to == LUCOS_TO_TWINS) {
		lucos_carried_drop_all(version);
		lucos_carried_unreserve(version);
		if (!lucos_carried_reserve(version, count))
			return false;
	}
	return lucos_lists_make(lists, version, count * pairs_of_one(version));
}

static bool make_room_for(struct lucos_lists *lists,
			  struct lucos_version *version,
			  enum lucos_direction to)
{
	if (lucos_version_is_variable(version))
		return lucos_lists_make(lists, version,
					version->count * pairs_of_one(version));
	return make_room_for_instances(lists, version, to);
}

static bool add_variable(struct lucos_lists *lists,
			 const struct lucos_version *version)
{
	unsigned int i;
	int cpu;

	if (version->per_cpu) {
		for_each_possible_cpu(cpu)
			if (!lucos_lists_add(lists,
				per_cpu_ptr((void __percpu *)version->object, cpu),
				per_cpu_ptr((void __percpu *)version->twin, cpu)))
				return false;
		return true;
	}
	for (i = 0; i < version->count; i++)
		if (!lucos_lists_add(lists,
				     version->object + i * version->object_size,
				     version->twin + i * version->twin_size))
			return false;
	return true;
}

/* Makes room for the pairs of a patch, as many as there are now. */
static bool make_room(struct loaded_patch *loaded, enum lucos_direction to,
		      struct lucos_failure *failure)
{
	unsigned int i, count = lucos_versions_count(loaded->patch);

	if (!count || loaded->sides == LUCOS_SIDES_BOTH)
		return true;
	free_lists(loaded);
	loaded->lists = kvcalloc(count, sizeof(*loaded->lists), GFP_KERNEL);
	if (!loaded->lists)
		return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY, NULL, 0);
	for (i = 0; i < count; i++)
		INIT_LIST_HEAD(&loaded->lists[i].link);
	for (i = 0; i < count; i++) {
		struct lucos_version *version =
			lucos_versions_get(loaded->patch, i);

		if (!make_room_for(&loaded->lists[i], version, to))
			return lucos_fail(failure, LUCOS_ERROR_NO_MEMORY,
					  version->name, 0);
	}
	return true;
}

/* False when there is not enough room. */
static bool list_pairs(struct loaded_patch *loaded, enum lucos_direction to)
{
	unsigned int i;

	if (!loaded->lists || loaded->sides == LUCOS_SIDES_BOTH)
		return true;
	for (i = 0; i < lucos_versions_count(loaded->patch); i++) {
		struct lucos_lists *lists = &loaded->lists[i];
		struct lucos_version *version =
			lucos_versions_get(loaded->patch, i);

		if (!(lucos_version_is_variable(version) ?
			      add_variable(lists, version) :
			      lucos_carried_list(version, lists, to)))
			return false;
		lucos_lists_finish(lists);
		list_add_rcu(&lists->link, &lent);
	}
	return true;
}

/* The next version behind `place` that has instances, in any of the patches. */
struct place {
	unsigned int patch;
	unsigned int version;
};

static struct lucos_version *next_carried(struct loaded_patch *const *patches,
					  unsigned int count,
					  struct place *place)
{
	for (; place->patch < count; place->patch++, place->version = 0) {
		const struct lucos_patch *patch = patches[place->patch]->patch;

		while (place->version < lucos_versions_count(patch)) {
			struct lucos_version *version =
				lucos_versions_get(patch, place->version++);

			if (!lucos_version_is_variable(version))
				return version;
		}
	}
	return NULL;
}

/* Whether it is the first one with this lock: several may have the same. */
static bool comes_first(struct loaded_patch *const *patches, unsigned int count,
			const struct lucos_version *version)
{
	struct place place = {};
	const struct lucos_version *other;

	while ((other = next_carried(patches, count, &place)))
		if (other->lock == version->lock)
			return other == version;
	return true;
}

static void lock_all(struct loaded_patch *const *patches, unsigned int count)
{
	struct place place = {};
	struct lucos_version *version;

	while ((version = next_carried(patches, count, &place)))
		if (comes_first(patches, count, version))
			version->lock();
}

/* In the same order: they are different locks. */
static void unlock_all(struct loaded_patch *const *patches, unsigned int count)
{
	struct place place = {};
	struct lucos_version *version;

	while ((version = next_carried(patches, count, &place)))
		if (comes_first(patches, count, version))
			version->unlock();
}

/* What was made ready and is not used; twins, when new code never ran. */
static void drop_unused(struct loaded_patch *loaded, enum lucos_direction to)
{
	struct place place = {};
	struct lucos_version *version;

	while ((version = next_carried(&loaded, 1, &place))) {
		if (to == LUCOS_TO_TWINS)
			lucos_carried_drop_all(version);
		lucos_carried_unreserve(version);
		lucos_carried_open(version);
	}
	if (loaded->sides != LUCOS_SIDES_BOTH)
		free_lists(loaded);
}

bool lucos_versions_lend(struct loaded_patch *const *patches,
			 unsigned int count, enum lucos_direction to,
			 struct lucos_failure *failure)
{
	unsigned int i, tries;
	bool enough;

	for (tries = 0; tries < TRIES; tries++) {
		for (i = 0; i < count; i++)
			if (!make_room(patches[i], to, failure))
				goto fail;
		lock_all(patches, count);
		enough = true;
		for (i = 0; enough && i < count; i++)
			enough = list_pairs(patches[i], to);
		if (enough) {
			lucos_versions_asked = (struct lucos_asked) {
				.count = count,
				.patches = patches,
				.to = to,
			};
			return true;
		}
		unlock_all(patches, count);
	}
	lucos_fail(failure, LUCOS_ERROR_BUSY, NULL, 0);
fail:
	for (i = 0; i < count; i++)
		drop_unused(patches[i], to);
	return false;
}

void lucos_versions_release(struct loaded_patch *const *patches,
			    unsigned int count)
{
	lucos_versions_asked = (struct lucos_asked) {};
	unlock_all(patches, count);
}

void lucos_versions_answered(struct loaded_patch *const *patches,
			     unsigned int count, u32 first)
{
	struct place place = {};
	struct lucos_version *version;

	while ((version = next_carried(patches, count, &place)))
		lucos_carried_answered(version, first + place.patch);
}

unsigned int lucos_versions_shared(const struct lucos_patch *patch)
{
	return lucos_patch_shared(patch);
}

/* Appends the shared fields of a version; gives their number. */
static unsigned int describe_shared(const struct lucos_patch *patch,
				    const struct lucos_version *version,
				    struct lucos_shared_field *fields)
{
	unsigned int i, count = 0;

	for (i = 0; i < lucos_versions_shared(patch); i++)
		if (shared_at(patch, i)->version == version)
			fields[count++] = shared_at(patch, i)->field;
	return count;
}

void lucos_versions_describe_rollback(const struct loaded_patch *loaded,
				      struct lucos_rollback_version *versions)
{
	unsigned int i;

	for (i = 0; i < lucos_versions_count(loaded->patch); i++) {
		const struct lucos_lists *lists = &loaded->lists[i];

		versions[i] = (struct lucos_rollback_version) {
			.flags = lucos_version_flags(
				lucos_versions_get(loaded->patch, i)),
		};
		/* Data of which both sides live is not moved. */
		if (loaded->sides == LUCOS_SIDES_BOTH || !loaded->lists ||
		    !lists->count)
			continue;
		versions[i].pairs_by_object = (unsigned long)lists->by_object;
		versions[i].pair_count = lists->count;
		versions[i].pairs_by_twin = (unsigned long)lists->by_twin;
		versions[i].pages = (unsigned long)lists->pages;
		versions[i].page_count = lists->page_count;
		versions[i].stage_step = lists->stage_step;
		versions[i].stage = (unsigned long)lists->stage;
	}
}

static void describe(const struct lucos_version *version,
		     const struct lucos_lists *lists,
		     struct lucos_data_version *record)
{
	*record = (struct lucos_data_version) {
		.flags = lucos_version_flags(version),
		.object_size = version->object_size,
		.twin_size = version->twin_size,
		.to_new = (unsigned long)version->to_new,
		.to_old = (unsigned long)version->to_old,
	};
	strscpy(record->name, version->name, sizeof(record->name));
	if (!lists || !lists->count)
		return;
	record->pairs_by_object = (unsigned long)lists->by_object;
	record->pair_count = lists->count;
	record->pairs_by_twin = (unsigned long)lists->by_twin;
	record->pages = (unsigned long)lists->pages;
	record->page_count = lists->page_count;
	record->stage_step = lists->stage_step;
	record->stage = (unsigned long)lists->stage;
}

void lucos_versions_describe(const struct loaded_patch *loaded,
			     struct lucos_data_version *versions,
			     struct lucos_shared_field *shared)
{
	unsigned int i, fields, next = 0;

	for (i = 0; i < lucos_versions_count(loaded->patch); i++) {
		const struct lucos_version *version =
			lucos_versions_get(loaded->patch, i);

		describe(version, loaded->lists ? &loaded->lists[i] : NULL,
			 &versions[i]);
		fields = describe_shared(loaded->patch, version, shared + next);
		if (!fields)
			continue;
		versions[i].shared_first = next;
		versions[i].shared_count = fields;
		next += fields;
	}
}

/* LUCOS reads nothing of it any more. Without new code no twin is needed. */
static void let_go(struct loaded_patch *loaded)
{
	struct place place = {};
	struct lucos_version *version;

	while ((version = next_carried(&loaded, 1, &place))) {
		lucos_carried_settled(version);
		if (loaded->sides == LUCOS_SIDES_OLD)
			lucos_carried_drop_all(version);
	}
	free_lists(loaded);
}

void lucos_versions_moved(struct loaded_patch *loaded,
			  enum lucos_direction to, bool clear)
{
	struct place place = {};
	struct lucos_version *version;

	if (!lucos_versions_any(loaded))
		return;
	if (!clear)
		loaded->sides = LUCOS_SIDES_BOTH;
	else
		loaded->sides = to == LUCOS_TO_TWINS ? LUCOS_SIDES_NEW :
						       LUCOS_SIDES_OLD;
	while ((version = next_carried(&loaded, 1, &place))) {
		lucos_carried_unreserve(version);
		lucos_carried_open(version);
	}
	if (clear)
		let_go(loaded);
}

void lucos_versions_refused(struct loaded_patch *loaded,
			    enum lucos_direction to)
{
	drop_unused(loaded, to);
}

enum lucos_sides lucos_versions_sides(const struct loaded_patch *loaded)
{
	return loaded->sides;
}

void lucos_versions_reconcile(struct loaded_patch *loaded)
{
	struct place place = {};
	struct lucos_version *version;

	while ((version = next_carried(&loaded, 1, &place)))
		lucos_carried_reconcile(version);
}

void lucos_versions_drained(struct loaded_patch *loaded)
{
	if (loaded->sides != LUCOS_SIDES_BOTH)
		return;
	loaded->sides = loaded->state == LUCOS_LOADED_APPLIED ?
				LUCOS_SIDES_NEW :
				LUCOS_SIDES_OLD;
	let_go(loaded);
}

bool lucos_versions_make(struct loaded_patch *loaded,
			 struct lucos_failure *failure)
{
	return lucos_carried_tables_make(loaded, failure);
}

void lucos_versions_forget(struct loaded_patch *loaded)
{
	free_lists(loaded);
	lucos_carried_tables_free(loaded);
}

LUCOS_NOINSTR const struct lucos_lists *lucos_versions_lent(const void *stage)
{
	const struct lucos_lists *lists;

	list_for_each_entry_rcu(lists, &lent, link, true)
		if (lists->stage == stage)
			return lists;
	return NULL;
}
