/* SPDX-License-Identifier: GPL-2.0 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <linux/types.h>

#include <lucos/interface.h>

/* A descriptor for two functions and two values, and how it is handed over. */
struct draft {
	struct {
		struct lucos_descriptor_header header;
		struct lucos_value values[2];
		struct lucos_function functions[2];
		struct lucos_dependency dependency;
	} bytes;
	u64 nonce;
	/* 0: where the descriptor is put */
	u64 address;
	u64 length;
};

/* A way to be wrong, and the error that LUCOS must answer with. */
struct defect {
	u32 error;
	void (*make)(struct draft *draft);
};

extern const struct defect hostile_defects[];
extern const unsigned int hostile_defect_count;

/* A number from the seeded sequence. */
u64 hostile_random(void);
/* One below `limit`. */
u32 hostile_below(u32 limit);

/* Fills in a descriptor that is right, to be checked only. */
void hostile_right_draft(struct draft *draft, u64 nonce);
/* Has the second function expect bytes that are not there. */
void hostile_expect_others(struct draft *draft);
/* Makes room for the dependency. */
void hostile_with_dependency(struct draft *draft, const char *name);

/* The pages that defects point to. */
struct hostile_places {
	/* The last bytes of it are readable, what follows is not mapped. */
	u64 end_of_buffer;
	/* Mapped, and no RAM. */
	u64 device;
	/* The memory of LUCOS. */
	u64 hypervisor;
};
extern struct hostile_places hostile_places;

/* An address of which LUCOS must neither read nor write anything. */
u64 hostile_wild_address(void);

/* Whether the code that the descriptors name is as it was. */
bool hostile_code_is_whole(void);

#endif
