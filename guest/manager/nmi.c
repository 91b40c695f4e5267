// SPDX-License-Identifier: GPL-2.0
/*
 * LUCOS stops processors with NMIs. A kick and an NMI of the guest that arrive
 * together are one NMI for the machine, so LUCOS passes an NMI to the guest
 * after every kick. When no handler of the kernel claims it, it was only a
 * kick, and it is claimed here; otherwise the kernel would report an unknown
 * NMI, or panic if it is told to.
 *
 * No more is claimed than can be explained: any number while a call of ours is
 * under way that stops processors, one on each processor after it, since one
 * can still be pending, and otherwise those for which LUCOS counts a new stop.
 */
#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/percpu.h>
#include <linux/smp.h>

#include <asm/nmi.h>

#include "hypercall.h"
#include "nmi.h"

/* Odd while a call is under way, larger by two after it. */
static atomic64_t calls;

/* The value of `calls` that this processor's last NMI was explained by. */
static DEFINE_PER_CPU(u64, nmi_calls_seen);

/* The number of stops that this processor's last NMI was explained by. */
static DEFINE_PER_CPU(u64, nmi_stops_seen);

/* Per-CPU memory is mapped by every page table, so LUCOS can write to it. */
static DEFINE_PER_CPU(struct lucos_system_status, nmi_status);

void lucos_nmi_call_begins(void)
{
	atomic64_inc(&calls);
}

void lucos_nmi_call_ends(void)
{
	atomic64_inc(&calls);
}

static bool is_from_our_call(void)
{
	u64 now = atomic64_read(&calls);

	if (now & 1)
		return true;
	if (now == __this_cpu_read(nmi_calls_seen))
		return false;
	__this_cpu_write(nmi_calls_seen, now);
	return true;
}

static bool is_from_new_stop(void)
{
	struct lucos_system_status *status = this_cpu_ptr(&nmi_status);
	struct lucos_failure failure;

	if (!lucos_query(LUCOS_QUERY_SYSTEM, 0, status, sizeof(*status),
			 &failure))
		return failure.code == LUCOS_ERROR_BUSY;
	if (status->stops == __this_cpu_read(nmi_stops_seen))
		return false;
	__this_cpu_write(nmi_stops_seen, status->stops);
	return true;
}

static int claim_kick(unsigned int type, struct pt_regs *regs)
{
	if (is_from_our_call() || is_from_new_stop())
		return NMI_HANDLED;
	return NMI_DONE;
}

int lucos_nmi_start(void)
{
	return register_nmi_handler(NMI_UNKNOWN, claim_kick, 0, "lucos");
}

static void answer(void *unused)
{
}

void lucos_nmi_stop(void)
{
	/* Who answers has taken the NMIs of the last call. */
	on_each_cpu(answer, NULL, true);
	unregister_nmi_handler(NMI_UNKNOWN, "lucos");
}
