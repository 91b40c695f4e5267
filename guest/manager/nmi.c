// SPDX-License-Identifier: GPL-2.0
/*
 * LUCOS stops processors with NMIs. A kick and an NMI of the guest that arrive
 * together are one NMI for the machine, so LUCOS passes an NMI to the guest
 * after every kick. When no handler of the kernel claims it, it was only a
 * kick, and it is claimed here; otherwise the kernel would report an unknown
 * NMI, or panic if it is told to.
 *
 * The handler claims no more than LUCOS explains: it asks for the number of
 * stops, and an NMI without a new one is left to the kernel.
 */
#include <linux/percpu.h>

#include <asm/nmi.h>

#include "hypercall.h"
#include "nmi.h"

/* Per-CPU memory is mapped by every page table, so LUCOS can write to it. */
static DEFINE_PER_CPU(struct lucos_system_status, nmi_status);
static DEFINE_PER_CPU(u64, nmi_stops_seen);

static int claim_kick(unsigned int type, struct pt_regs *regs)
{
	struct lucos_system_status *status = this_cpu_ptr(&nmi_status);
	s64 result;

	result = lucos_query(LUCOS_QUERY_SYSTEM, 0, status, sizeof(*status));
	if (result == -LUCOS_ERROR_BUSY)
		return NMI_HANDLED;
	if (result < 0)
		return NMI_DONE;
	if (status->stops == __this_cpu_read(nmi_stops_seen))
		return NMI_DONE;
	__this_cpu_write(nmi_stops_seen, status->stops);
	return NMI_HANDLED;
}

int lucos_nmi_start(void)
{
	return register_nmi_handler(NMI_UNKNOWN, claim_kick, 0, "lucos");
}

void lucos_nmi_stop(void)
{
	unregister_nmi_handler(NMI_UNKNOWN, "lucos");
}
