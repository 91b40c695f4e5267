/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The data versions of a patch: their pairs, and the memory that LUCOS is lent to
 * move data from one side to the other.
 *
 * Around a call of LUCOS that may move data of some patches:
 *
 *	lucos_versions_lend()		lists the pairs, and takes the authors'
 *					locks: nothing is made or freed
 *	lucos_versions_describe()	what LUCOS is told
 *	lucos_ask_once()		it may not sleep
 *	lucos_versions_answered()
 *	lucos_versions_release()	gives the locks back
 *	lucos_versions_moved()		for each patch, when LUCOS has done it; or
 *	lucos_versions_refused()
 *
 * Everything is called with the registry's lock, unless it says otherwise.
 */
#ifndef LUCOS_MANAGER_VERSIONS_H
#define LUCOS_MANAGER_VERSIONS_H

#include <linux/types.h>

#include <lucos/interface.h>

#include "failure.h"

struct loaded_patch;
struct lucos_version;
struct module;

/* Which side is made of the other. */
enum lucos_direction {
	LUCOS_TO_TWINS,
	LUCOS_TO_OBJECTS,
};

/* Which sides of a patch's data live. */
enum lucos_sides {
	LUCOS_SIDES_OLD,
	LUCOS_SIDES_BOTH,
	LUCOS_SIDES_NEW,
};

/* Two addresses, as LUCOS reads them. */
struct lucos_pair_addresses {
	unsigned long object;
	unsigned long twin;
};

/*
 * The lists of one version and its stage, each on pages of its own: LUCOS seals
 * them while it uses them.
 */
struct lucos_lists {
	struct list_head link;		/* of those that upcalls may ask for */
	const struct lucos_version *version;
	unsigned int capacity;		/* in pairs */
	unsigned int count;
	struct lucos_pair_addresses *by_object;
	struct lucos_pair_addresses *by_twin;
	u64 *pages;
	unsigned int page_count;
	u8 *stage;
	u32 stage_step;
};

/* Whether what a patch says of its versions is well-formed. */
bool lucos_versions_check(const struct lucos_patch *patch,
			  const struct module *module,
			  struct lucos_failure *failure);

/* The versions of a patch, and one of them. */
unsigned int lucos_versions_count(const struct lucos_patch *patch);
struct lucos_version *lucos_versions_get(const struct lucos_patch *patch,
					 unsigned int index);

/* Copies the name of one of them, if there are so many. */
void lucos_versions_name(const struct lucos_patch *patch, unsigned int index,
			 char name[LUCOS_NAME_SIZE]);

/* Whether it is about a variable, which has its twin for good. */
bool lucos_version_is_variable(const struct lucos_version *version);

/* How many objects have a twin now, if it is not. */
unsigned long lucos_version_twins(const struct lucos_version *version);

/* LUCOS_DATA_FLAG_ bits of a version. */
u32 lucos_version_flags(const struct lucos_version *version);

/*
 * Whether the patch has data versions at all; one of which must never be in both
 * forms at once, so that it is applied and rolled back clear only.
 */
bool lucos_versions_any(const struct loaded_patch *loaded);
bool lucos_versions_clear_only(const struct loaded_patch *loaded);

/*
 * Lists all pairs of these patches, and makes twins for the objects that have
 * none. Afterwards the authors' locks are held. Data of which both sides live is
 * not listed: it is not moved. Sleeps. When that fails, no lock is held.
 */
bool lucos_versions_lend(struct loaded_patch *const *patches,
			 unsigned int count, enum lucos_direction to,
			 struct lucos_failure *failure);

/*
 * LUCOS has given these patches numbers from `first` on. Right behind the call,
 * with interrupts off.
 */
void lucos_versions_answered(struct loaded_patch *const *patches,
			     unsigned int count, u32 first);

/* Gives the authors' locks back. */
void lucos_versions_release(struct loaded_patch *const *patches,
			    unsigned int count);

/* What LUCOS is told of the versions of a patch. Between lend and release. */
void lucos_versions_describe(const struct loaded_patch *loaded,
			     struct lucos_data_version *versions,
			     struct lucos_shared_field *shared);
unsigned int lucos_versions_shared(const struct lucos_patch *patch);
void lucos_versions_describe_rollback(const struct loaded_patch *loaded,
				      struct lucos_rollback_version *versions);

/*
 * LUCOS has applied a patch or taken it back, and its data is where it should
 * be; `clear`: nobody was inside the code that was left, so only one side lives.
 * Without `clear` both do, and LUCOS goes on reading the lists.
 */
void lucos_versions_moved(struct loaded_patch *loaded,
			  enum lucos_direction to, bool clear);

/* LUCOS has refused it: lists that were made go, and twins that nobody has. */
void lucos_versions_refused(struct loaded_patch *loaded,
			    enum lucos_direction to);

/* Which sides live, as far as LUCOS has said. */
enum lucos_sides lucos_versions_sides(const struct loaded_patch *loaded);

/*
 * Before LUCOS is told that old code is drained: drops the pairs whose objects
 * old code has freed meanwhile. Sleeps, takes the authors' locks.
 */
void lucos_versions_reconcile(struct loaded_patch *loaded);

/*
 * LUCOS knows that nobody is in the code any more that was left: the lists go, and
 * after a rollback the twins.
 */
void lucos_versions_drained(struct loaded_patch *loaded);

/* What a patch needs while it is loaded. Sleeps. */
bool lucos_versions_make(struct loaded_patch *loaded,
			 struct lucos_failure *failure);
void lucos_versions_forget(struct loaded_patch *loaded);

/*
 * For upcalls, which run without any lock while the guest stands still: the lists
 * with this stage; or NULL.
 */
const struct lucos_lists *lucos_versions_lent(const void *stage);

/*
 * The patches that the call under way is about, for the upcalls that it leads
 * to: LUCOS numbers the patches of an APPLY only in it.
 */
struct lucos_asked {
	unsigned int count;
	struct loaded_patch *const *patches;
	enum lucos_direction to;
};

extern struct lucos_asked lucos_versions_asked;

#endif
