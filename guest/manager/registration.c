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
#include "transfer.h"

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
	lucos_upcalls_register(&record);
}

/*
 * LUCOS notes the page-table root that it finds in CR3. That of a process would
 * be freed when the process ends, so the kernel's own is loaded for the one
 * instruction; it maps everything that code with interrupts off can touch here.
 */
static bool register_with_kernel_tables(struct lucos_registers *registers,
					struct lucos_failure *failure)
{
	unsigned long flags, cr3;
	bool done;

	local_irq_save(flags);
	cr3 = __native_read_cr3();
	native_write_cr3(__sme_pa(lucos_symbols.init_top_pgt));
	done = lucos_hypercall(LUCOS_CALL_REGISTER, registers, failure);
	native_write_cr3(cr3);
	local_irq_restore(flags);
	return done;
}

/* Registers with a new nonce. */
static bool register_anew(struct lucos_failure *failure)
{
	struct lucos_registers registers;

	do {
		nonce = get_random_u64();
	} while (!nonce);
	fill_record();
	registers = (struct lucos_registers) {
		.rbx = nonce,
		.rcx = (unsigned long)&record,
		.rdx = sizeof(record),
	};
	return register_with_kernel_tables(&registers, failure);
}

int lucos_register(void)
{
	struct lucos_registers registers = {
		.rbx = LUCOS_INTERFACE_VERSION,
	};
	struct lucos_failure failure;

	if (!lucos_hypercall(LUCOS_CALL_HELLO, &registers, &failure)) {
		pr_err("LUCOS refuses interface version %u: %s\n",
		       LUCOS_INTERFACE_VERSION,
		       lucos_error_meaning(failure.code));
		return -EPROTO;
	}
	/* RDX is the number of processors. */
	if (lucos_has(LUCOS_FEATURE_DATA_VERSIONS) &&
	    lucos_upcalls_start(registers.rdx))
		return -ENOMEM;
	if (!register_anew(&failure)) {
		pr_err("LUCOS refuses the registration: %s (%llu)\n",
		       lucos_error_meaning(failure.code), failure.detail);
		lucos_upcalls_stop();
		return -EIO;
	}
	return 0;
}

/*
 * Whether LUCOS takes somebody else for the manager, or nobody, while we are
 * registered: all code of the kernel can make hypercalls, and so register with
 * what a query tells, or end a registration whose nonce it has read.
 */
static bool is_taken_from_us(u32 code)
{
	return nonce && (code == LUCOS_ERROR_NONCE ||
			 code == LUCOS_ERROR_NOT_REGISTERED);
}

bool lucos_registered_hypercall(enum lucos_call call,
				struct lucos_registers *registers,
				struct lucos_failure *failure)
{
	const struct lucos_registers arguments = *registers;

	registers->rbx = nonce;
	if (lucos_hypercall(call, registers, failure))
		return true;
	if (!is_taken_from_us(failure->code))
		return false;
	/* The same kernel: its updates stay in force. */
	if (!register_anew(failure))
		return false;
	pr_warn_ratelimited("other code of this kernel has taken the registration with LUCOS away; registered again\n");
	*registers = arguments;
	registers->rbx = nonce;
	return lucos_hypercall(call, registers, failure);
}

void lucos_unregister(enum lucos_unregister_reason reason)
{
	struct lucos_registers registers = { .rcx = reason };
	struct lucos_failure failure;

	if (!lucos_registered_hypercall(LUCOS_CALL_UNREGISTER, &registers,
					&failure))
		pr_warn("LUCOS does not end the registration: %s\n",
			lucos_error_meaning(failure.code));
	else
		lucos_upcalls_stop();
	nonce = 0;
}
