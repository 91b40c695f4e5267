// SPDX-License-Identifier: GPL-2.0
/* Transfer functions that do what they must not: as the target module says. */
#include <linux/printk.h>
#include <linux/spinlock.h>

#include <lucos/version.h>

#include "data_target.h"

struct counter {
	u64 units;
	u32 writes;
};

static struct counter total LUCOS_TWIN_VARIABLE;
static struct counter slots[SLOTS] LUCOS_TWIN_VARIABLE;
static DEFINE_SPINLOCK(lock);

static LUCOS_NOINSTR int misbehave(int how)
{
	switch (how) {
	case 1:
		return *(volatile int *)8;
	case 2:
		asm volatile("xorl %%ecx, %%ecx; divl %%ecx"
			     : : : "eax", "ecx", "edx", "cc");
		return 0;
	case 3:
		while (READ_ONCE(target_fault))
			cpu_relax();
		return 0;
	case 4:
		WRITE_ONCE(target_victim, 1);
		return 0;
	case 5:
		spin_lock(&lock);
		/* Not reached: taking the lock writes it. */
		__release(&lock);
		return 0;
	case 6:
		pr_info("from a transfer function\n");
		return 0;
	case 7:
		asm volatile("vmmcall" : : "a"(LUCOS_CALL_BASE) : "rbx", "rcx", "rdx", "memory");
		return 0;
	case 8:
		return -ERANGE;
	}
	return 0;
}

/* Comes first, and is right: nothing of it may be left when the other fails. */
LUCOS_DATA_ARRAY(good_counters, target_slots, slots);
LUCOS_TO_NEW(good_counters) { new->units = *old; }
LUCOS_TO_OLD(good_counters) { *old = new->units; }

/* From 100 on it is the way back that misbehaves. */
LUCOS_DATA(bad_counter, target_total, total);
LUCOS_TRY_TO_NEW(bad_counter)
{
	int fault = READ_ONCE(target_fault);
	int error = misbehave(fault);

	new->units = *old + (fault == 9);
	return error;
}
LUCOS_TRY_TO_OLD(bad_counter)
{
	int error = misbehave(READ_ONCE(target_fault) - 100);

	*old = new->units;
	return error;
}

LUCOS_REPLACE(target_add, void, int units)
{
	total.units += units;
	slots[units % SLOTS].units += units;
}

LUCOS_REPLACE(target_show, int, char *buffer)
{
	return scnprintf(buffer, PAGE_SIZE, "new total %llu\n", total.units);
}

LUCOS_PATCH("data_faulty", "transfers that fail");
