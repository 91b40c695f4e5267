/* SPDX-License-Identifier: GPL-2.0 */
/* What is loaded: every patch module, and what is known of its functions. */
#ifndef LUCOS_MANAGER_REGISTRY_H
#define LUCOS_MANAGER_REGISTRY_H

#include <linux/list.h>
#include <linux/module.h>
#include <linux/types.h>

#include <lucos/interface.h>

#include "code.h"
#include "inside.h"
#include "versions.h"

struct dyn_ftrace;
struct lucos_fence;

/* Most modules whose symbols one patch uses. */
#define LUCOS_MAX_PINS 16

struct loaded_function {
	/* Known for as long as the patch is loaded: */
	u32 old_size;
	u32 new_size;			/* 0: nothing is known yet */
	struct module *owner;		/* with a reference; NULL: the kernel */
	struct dyn_ftrace *record;	/* of the slot, if it was needed */
	/* Known since the patch was put in force: */
	unsigned long site;
	u32 at_slot;		/* why the site is the slot: an error code */
	bool no_jump;		/* keeps its trap for good */
	bool settled;		/* has its jump, or no chance of one */
	bool holds_slot;	/* the site is the slot, and kept from ftrace */
	struct lucos_fence *fence;	/* while applied */
	struct loaded_inside inside;	/* the window */
};

struct loaded_patch {
	struct list_head link;
	struct lucos_patch *patch;
	struct module *module;
	enum lucos_loaded_state state;
	u32 number;		/* what LUCOS calls it */
	bool pending;		/* comes in the step that is being prepared */
	bool one_by_one;	/* jumps are asked for function by function */
	bool shaky;		/* a withdrawal may take it along, see needs.h */
	bool publishes;		/* values lead to its functions, see values.h */
	/* The module's text while draining; old code while data is guarded. */
	struct loaded_inside inside;
	struct lucos_code old_code;	/* known while it is waited for */
	enum lucos_sides sides;		/* of its data, see versions.h */
	struct lucos_lists *lists;	/* of each version, while LUCOS has them */
	unsigned int count;
	struct loaded_function functions[LUCOS_MAX_FUNCTIONS];
	unsigned int pin_count;
	struct module *pins[LUCOS_MAX_PINS];
};

/*
 * One lock for what is loaded, what was answered last, and every call that
 * changes something in LUCOS. Who enters the manager takes it: a command, a
 * module that comes or goes, the worker that settles, the end of the kernel.
 * Everything else is called with it. Sleeps.
 */
void lucos_registry_lock(void);
void lucos_registry_unlock(void);

/* Every loaded patch, in the order of loading. */
extern struct list_head lucos_registry;

/* Finds a patch by its name, or by what its module handed over; or NULL. */
struct loaded_patch *lucos_registry_find(const char *name);
struct loaded_patch *lucos_registry_find_patch(const struct lucos_patch *patch);

/* Whether a patch of ours redirects this very address. */
bool lucos_registry_owns_site(unsigned long address);

#endif
