/* SPDX-License-Identifier: GPL-2.0 */
/* How the manager talks to LUCOS. */
#ifndef LUCOS_MANAGER_HYPERCALL_H
#define LUCOS_MANAGER_HYPERCALL_H

#include <linux/types.h>

#include <lucos/interface.h>

#include "failure.h"

/* Arguments of a hypercall, and its results afterwards. */
struct lucos_registers {
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

/*
 * Makes a hypercall: >= 0 is the result, < 0 is minus an error code. Can be
 * called in any context, NMIs included.
 */
s64 lucos_hypercall(enum lucos_call call, struct lucos_registers *registers);

/*
 * Makes a hypercall of the registered manager, whose nonce is put into RBX,
 * again for a short while as long as LUCOS is busy. Sets
 * `failure` but for its subject. The lock of the patches is held.
 */
s64 lucos_patient_hypercall(enum lucos_call call,
			    struct lucos_registers *registers,
			    struct lucos_failure *failure);

/*
 * Reads a status record into `buffer`, which must be mapped for good. Gives
 * the number of bytes or minus an error code.
 */
s64 lucos_query(enum lucos_query_kind kind, u64 selector, void *buffer,
		size_t size);

/* The name and the meaning of an error code. */
const char *lucos_error_name(u32 code);
const char *lucos_error_meaning(u32 code);

#endif
