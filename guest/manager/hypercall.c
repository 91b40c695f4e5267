// SPDX-License-Identifier: GPL-2.0
/* Detection and hypercalls. */
#include <linux/kernel.h>
#include <linux/errno.h>
#include <linux/module.h>

#include <asm/msr.h>

#include "hypercall.h"

/* LUCOS_FEATURE_ bits. */
static u32 features;

bool lucos_has(u32 some)
{
	return (features & some) == some;
}

bool lucos_calls_by_vmmcall(void)
{
	return lucos_has(LUCOS_FEATURE_VMMCALL);
}

int lucos_detect(void)
{
	u32 low, high;

	if (rdmsr_safe(LUCOS_REGISTER, &low, &high) || high != LUCOS_SIGNATURE)
		return -ENODEV;
	if ((u16)low != LUCOS_INTERFACE_VERSION)
		return -EPROTO;
	features = low >> LUCOS_FEATURES_SHIFT;
	return 0;
}

bool lucos_hypercall(enum lucos_call call, struct lucos_registers *registers,
		     struct lucos_failure *failure)
{
	u64 rax = LUCOS_CALL_BASE | call;

	if (lucos_calls_by_vmmcall())
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
	registers->rax = rax;
	if ((s64)rax >= 0)
		return true;
	return lucos_fail(failure, -rax, NULL, registers->rdx);
}

bool lucos_query(enum lucos_query_kind kind, u64 selector, void *buffer,
		 size_t size, struct lucos_failure *failure)
{
	struct lucos_registers registers = {
		.rbx = kind,
		.rcx = selector,
		.rdx = (unsigned long)buffer,
		.rsi = size,
	};

	if (!lucos_hypercall(LUCOS_CALL_QUERY, &registers, failure))
		return false;
	if (registers.rax < size)
		return lucos_fail(failure, LUCOS_ERROR_LENGTH, NULL,
				  registers.rax);
	return true;
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
