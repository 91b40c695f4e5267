/* SPDX-License-Identifier: GPL-2.0 */
/* How the manager talks to LUCOS. */
#ifndef LUCOS_MANAGER_HYPERCALL_H
#define LUCOS_MANAGER_HYPERCALL_H

#include <linux/types.h>

#include <lucos/interface.h>

#include "failure.h"

/* Arguments of a hypercall, and its results afterwards. */
struct lucos_registers {
	u64 rax;	/* a result only */
	u64 rbx;
	u64 rcx;
	u64 rdx;
	u64 rsi;
};

/*
 * Looks for LUCOS. Gives 0, or -ENODEV when something else or nothing
 * is underneath, or -EPROTO when it speaks another version of the interface.
 */
int lucos_detect(void);

/* Of the features that it has told of: LUCOS_FEATURE_ bits. */
bool lucos_has(u32 features);

/* Whether calls are made by vmmcall (AMD-V) or vmcall (VT-x). */
bool lucos_calls_by_vmmcall(void);

/*
 * Makes a hypercall. When LUCOS refuses, RCX is the item at fault, if it is one.
 * Can be called in any context, NMIs included.
 */
bool lucos_hypercall(enum lucos_call call, struct lucos_registers *registers,
		     struct lucos_failure *failure);

/*
 * Reads a status record of `size` bytes into `buffer`, which must be mapped for
 * good. Can be called in any context.
 */
bool lucos_query(enum lucos_query_kind kind, u64 selector, void *buffer,
		 size_t size, struct lucos_failure *failure);

/* What an error code means. */
const char *lucos_error_meaning(u32 code);

#endif
