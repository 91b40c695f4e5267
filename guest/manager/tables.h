/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel's own tables say of the bytes at the start of a function. */
#ifndef LUCOS_MANAGER_TABLES_H
#define LUCOS_MANAGER_TABLES_H

#include <linux/module.h>
#include <linux/types.h>

/* The slot and the window behind it. */
#define LUCOS_LOOKED_AT 10

/* Bit n of each mask is about the byte at `start` + n. */
struct lucos_bytes {
	unsigned long start;
	u16 jump_labels;	/* part of the instruction of a jump label */
	u16 static_calls;	/* part of a static call */
	u16 alternatives;	/* a LOCK prefix that may come and go */
	u16 exceptions;		/* what stands here may fault */
	u16 bugs;		/* a BUG or WARN stands here */
	u16 branches;		/* a jump label leads here, or a fault */
};

/* Reads the kernel's tables, once. Gives 0 or a negative errno. */
int lucos_tables_start(void);
void lucos_tables_stop(void);

/*
 * Says what there is of the bytes from `start` on, which are text of a module
 * that cannot go, or of the kernel (NULL). Sleeps.
 */
void lucos_tables_look(struct lucos_bytes *bytes, const struct module *owner,
		       unsigned long start);

#endif
