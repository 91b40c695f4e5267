// SPDX-License-Identifier: GPL-2.0
/* The registration of this kernel with LUCOS. */
#define pr_fmt(fmt) "lucos: " fmt

#include <linux/errno.h>
#include <linux/irqflags.h>
#include <linux/pgtable.h>
#include <linux/random.h>
#include <linux/sched/task.h>
#include <linux/siphash.h>
#include <linux/string.h>

#include <asm/special_insns.h>

#include "hypercall.h"
#include "registration.h"
#include "symbols.h"

static u64 nonce;

/* In static memory: LUCOS reads it through the kernel's page tables. */
static struct lucos_registration record;

/*
 * A value that stays the same while this kernel runs, also when the manager is
 * loaded again, and differs after a reboot or kexec: where the kernel was put
 * in memory, and the canary of the first task, which is drawn at boot. Hashed,
 * so that the canary stays secret.
 */
static void fill_boot_identity(u8 *identity)
{
	static const siphash_key_t keys[2] = {
		{ { 0x4c55434f53626f6fULL, 0x7469646e31000000ULL } },
		{ { 0x4c55434f53626f6fULL, 0x7469646e32000000ULL } },
	};
	u64 canary = 0;
	unsigned int i;

#ifdef CONFIG_STACKPROTECTOR
	canary = init_task.stack_canary;
#endif
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		u64 half = siphash_3u64(canary,
					(unsigned long)lucos_symbols.stext,
					PAGE_OFFSET, &keys[i]);

		memcpy(identity + i * sizeof(half), &half, sizeof(half));
	}
}

static void fill_record(void)
{
	memset(&record, 0, sizeof(record));
	record.version = LUCOS_REGISTRATION_VERSION;
	record.size = sizeof(record);
	if (lucos_symbols.vmlinux_build_id) {
		memcpy(record.build_id, lucos_symbols.vmlinux_build_id,
		       LUCOS_BUILD_ID_SIZE);
		if (memchr_inv(record.build_id, 0, LUCOS_BUILD_ID_SIZE))
			record.build_id_length = LUCOS_BUILD_ID_SIZE;
	}
	record.text_start = (unsigned long)lucos_symbols.stext;
	record.text_end = (unsigned long)lucos_symbols.etext;
	record.modules_start = MODULES_VADDR;
	record.modules_end = MODULES_END;
	fill_boot_identity(record.boot_identity);
}

/*
 * LUCOS notes the page-table root that it finds in CR3. That of a process would
 * be freed when the process ends, so the kernel's own is loaded for the one
 * instruction; it maps everything that code with interrupts off can touch here.
 */
static s64 register_with_kernel_tables(struct lucos_registers *registers)
{
	unsigned long flags, cr3;
	s64 result;

	local_irq_save(flags);
	cr3 = __native_read_cr3();
	native_write_cr3(__sme_pa(lucos_symbols.init_top_pgt));
	result = lucos_hypercall(LUCOS_CALL_REGISTER, registers);
	native_write_cr3(cr3);
	local_irq_restore(flags);
	return result;
}

/* Registers with a new nonce. Gives what LUCOS answers. */
static s64 register_anew(struct lucos_registers *registers)
{
	do {
		nonce = get_random_u64();
	} while (!nonce);
	fill_record();
	*registers = (struct lucos_registers) {
		.rbx = nonce,
		.rcx = (unsigned long)&record,
		.rdx = sizeof(record),
	};
	return register_with_kernel_tables(registers);
}

int lucos_register(void)
{
	struct lucos_registers registers = {
		.rbx = LUCOS_INTERFACE_VERSION,
	};
	s64 result;

	result = lucos_hypercall(LUCOS_CALL_HELLO, &registers);
	if (result < 0) {
		pr_err("LUCOS refuses interface version %u: %s\n",
		       LUCOS_INTERFACE_VERSION, lucos_error_meaning(-result));
		return -EPROTO;
	}
	result = register_anew(&registers);
	if (result < 0) {
		pr_err("LUCOS refuses the registration: %s (%llu)\n",
		       lucos_error_meaning(-result), registers.rdx);
		return -EIO;
	}
	return 0;
}

/*
 * Whether LUCOS takes somebody else for the manager, or nobody, while we are
 * registered: all code of the kernel can make hypercalls, and so register with
 * what a query tells, or end a registration whose nonce it has read.
 */
static bool is_taken_from_us(s64 result)
{
	return nonce && (result == -LUCOS_ERROR_NONCE ||
			 result == -LUCOS_ERROR_NOT_REGISTERED);
}

s64 lucos_registered_hypercall(enum lucos_call call,
			       struct lucos_registers *registers)
{
	const struct lucos_registers arguments = *registers;
	s64 result;

	registers->rbx = nonce;
	result = lucos_hypercall(call, registers);
	if (!is_taken_from_us(result))
		return result;
	/* The same kernel: its updates stay in force. */
	result = register_anew(registers);
	if (result < 0)
		return result;
	pr_warn_ratelimited("other code of this kernel has taken the registration with LUCOS away; registered again\n");
	*registers = arguments;
	registers->rbx = nonce;
	return lucos_hypercall(call, registers);
}

void lucos_unregister(enum lucos_unregister_reason reason)
{
	struct lucos_registers registers = { .rcx = reason };
	s64 result;

	result = lucos_registered_hypercall(LUCOS_CALL_UNREGISTER, &registers);
	if (result < 0)
		pr_warn("LUCOS does not end the registration: %s\n",
			lucos_error_meaning(-result));
	nonce = 0;
}
