// SPDX-License-Identifier: GPL-2.0
/* Detection and hypercalls. */
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/errno.h>
#include <linux/module.h>

#include <asm/msr.h>

#include "hypercall.h"
#include "nmi.h"
#include "registration.h"

/* How often, and how many milliseconds apart, a busy LUCOS is asked again. */
#define BUSY_RETRIES 50
#define BUSY_PAUSE_MS 10

/* Whether calls are made by vmmcall (AMD-V) or vmcall (VT-x). */
static bool by_vmmcall;

int lucos_detect(void)
{
	u32 low, high;

	if (rdmsr_safe(LUCOS_REGISTER, &low, &high) || high != LUCOS_SIGNATURE)
		return -ENODEV;
	if ((u16)low != LUCOS_INTERFACE_VERSION)
		return -EPROTO;
	by_vmmcall = low >> LUCOS_FEATURES_SHIFT & LUCOS_FEATURE_VMMCALL;
	return 0;
}

s64 lucos_hypercall(enum lucos_call call, struct lucos_registers *registers)
{
	u64 rax = LUCOS_CALL_BASE | call;

	if (by_vmmcall)
		asm volatile("vmmcall"
			     : "+a"(rax), "+b"(registers->rbx),
			       "+c"(registers->rcx), "+d"(registers->rdx)
			     : "S"(registers->rsi)
			     : "memory", "cc");
	else
		asm volatile("vmcall"
			     : "+a"(rax), "+b"(registers->rbx),
			       "+c"(registers->rcx), "+d"(registers->rdx)
			     : "S"(registers->rsi)
			     : "memory", "cc");
	return (s64)rax;
}

s64 lucos_patient_hypercall(enum lucos_call call,
			    struct lucos_registers *registers,
			    struct lucos_failure *failure)
{
	const struct lucos_registers arguments = *registers;
	unsigned int tries = 0;
	s64 result;

	for (;;) {
		*registers = arguments;
		lucos_nmi_call_begins();
		result = lucos_registered_hypercall(call, registers);
		lucos_nmi_call_ends();
		if (result != -LUCOS_ERROR_BUSY || tries++ == BUSY_RETRIES)
			break;
		msleep(BUSY_PAUSE_MS);
	}
	if (result < 0)
		lucos_fail(failure, -result, NULL, registers->rdx);
	return result;
}

s64 lucos_query(enum lucos_query_kind kind, u64 selector, void *buffer,
		size_t size)
{
	struct lucos_registers registers = {
		.rbx = kind,
		.rcx = selector,
		.rdx = (unsigned long)buffer,
		.rsi = size,
	};

	return lucos_hypercall(LUCOS_CALL_QUERY, &registers);
}

const char *lucos_error_name(u32 code)
{
	switch (code) {
#define LUCOS_CASE(name, number, meaning) case number: return #name;
	LUCOS_ERRORS(LUCOS_CASE)
#undef LUCOS_CASE
	}
	return "UNKNOWN";
}

const char *lucos_error_meaning(u32 code)
{
	switch (code) {
#define LUCOS_CASE(name, number, meaning) case number: return meaning;
	LUCOS_ERRORS(LUCOS_CASE)
#undef LUCOS_CASE
	}
	return "LUCOS gave an error that this manager does not know";
}
