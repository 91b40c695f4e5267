/* SPDX-License-Identifier: GPL-2.0 */
/* Data and functions that the patches of the tests have in another form. */
#ifndef DATA_TARGET_H
#define DATA_TARGET_H

#include <linux/list.h>
#include <linux/percpu.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#define SLOTS 4

/* Units that were added: in all, by slot, and by processor. */
extern int target_total;
extern int target_slots[SLOTS];
DECLARE_PER_CPU(int, target_local);

/* Visits and their units. Visits are counted by a function that no patch replaces. */
struct target_pair {
	u32 visits;
	int units;
};

extern struct target_pair target_pair;

/* Units of which a patch of its own has another form. */
extern int target_spare;

/* A thing that is made and freed, on a list that a lock guards. */
struct target_thing {
	struct list_head link;
	int number;
	int units;
};

extern struct list_head target_things;
void target_lock(void);
void target_unlock(void);

/* What a faulty transfer function is to do, and what it may spoil. */
extern int target_fault;
extern int target_victim;

/* Old and new code take it around whatever they do to the variables. */
extern spinlock_t target_units_lock;
/* Whether who naps goes on napping. */
extern bool target_hold;

/* Adds units; with the lock. */
void target_add(int units);
/* Adds a unit, naps, and adds another one. */
void target_nap(void);
void target_spare_add(int units);
int target_spare_show(char *buffer);
void target_thing_add(struct target_thing *thing, int units);
/* What there is, as the code that runs knows it. */
int target_show(char *buffer);
int target_thing_show(struct target_thing *thing, char *buffer);
void target_thing_free(struct target_thing *thing);

#endif
