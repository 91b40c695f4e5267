/* SPDX-License-Identifier: GPL-2.0 */
/* Data of which patches have another form, to be measured. */
#ifndef FIGURES_TARGET_H
#define FIGURES_TARGET_H

#include <linux/types.h>

#define MANY 1000

/* As many objects as are to be moved, one after the other. */
extern u32 figures_objects[MANY];

/* Objects of three sizes, of which writes change the first word. */
struct figures_small {
	u32 value;
	u32 neighbour;		/* on its page, and nobody's object */
};

struct figures_middle {
	u32 words[16];
};

struct figures_large {
	u32 words[1024];
};

extern struct figures_small figures_small;
extern struct figures_middle figures_middle;
extern struct figures_large figures_large;

/* Sleeps until it is told to end; uses all of them. */
int figures_hold(void);
/* The sum of some objects. */
u64 figures_sum(unsigned int count);

#endif
