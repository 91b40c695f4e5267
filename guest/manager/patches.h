/* SPDX-License-Identifier: GPL-2.0 */
/* The patch modules that are loaded. */
#ifndef LUCOS_MANAGER_PATCHES_H
#define LUCOS_MANAGER_PATCHES_H

#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>

#include "failure.h"
#include "fence.h"

struct dyn_ftrace;

/* Most modules whose symbols one patch uses. */
#define LUCOS_MAX_PINS 16

enum loaded_state {
	LOADED_APPLIED,		/* the new functions are in force */
	LOADED_DRAINING,	/* rolled back, its code may be in use */
	LOADED_UNUSED,		/* rolled back, nobody is in its code */
	LOADED_KEPT,		/* rolled back, the kernel may use its memory */
};

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
};

struct loaded_patch {
	struct list_head link;
	struct lucos_patch *patch;
	struct module *module;
	enum loaded_state state;
	u32 number;		/* what LUCOS calls it */
	bool one_by_one;	/* jumps are asked for function by function */
	unsigned int count;
	struct loaded_function functions[LUCOS_MAX_FUNCTIONS];
	unsigned int pin_count;
	struct module *pins[LUCOS_MAX_PINS];
};

/* Guards everything below, and every call that changes something in LUCOS. */
extern struct mutex lucos_patches_lock;

/* Every loaded patch, in the order of loading. The lock is held. */
extern struct list_head lucos_patches;

/* Finds a patch by its name. The lock is held. */
struct loaded_patch *lucos_patches_find(const char *name);

/* Checks or applies a patch that is loaded but not in force. Takes the lock. */
bool lucos_patches_apply(const char *name, bool check_only,
			 struct lucos_failure *failure);

/* Whether a patch of ours redirects this very address. The lock is held. */
bool lucos_patches_own_site(unsigned long address);

#endif
