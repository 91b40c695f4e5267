/* SPDX-License-Identifier: GPL-2.0 */
/* The objects that the patches of the tests change. */
#ifndef VALUES_TARGET_H
#define VALUES_TARGET_H

struct target_table {
	int before;
	int entry;
	char text[40];
};

extern int target_number;
extern unsigned int target_bits;
/* Read-only. */
extern const struct target_table target_table;
/* What ON_APPLY of values_hooks gives, and how often each of its hooks ran. */
extern int target_error;
extern int target_applies;
extern int target_rollbacks;

#endif
