// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest's kernel tries to get at LUCOS with. Each parameter is read to
 * try a kind: it tells how many tries did not end as they must, of how many,
 * and the first of them.
 *
 * virtualization: EFER, VM_CR and their like.
 * apic: the local APIC over LUCOS's memory, or out of its reach.
 * walks: page tables that lead to where no memory of the guest is.
 * at: a physical address is written; reading it gives the ends of QUERY, LOG and
 * REGISTER with their buffers there.
 * stack, state: writing any number ends the kernel, by a stack in LUCOS's memory
 * or by a state that no processor takes.
 *
 * `region` is the physical address of LUCOS's memory.
 */
#include <linux/io.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/objtool.h>
#include <linux/pgtable.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include <asm/apicdef.h>
#include <asm/processor.h>
#include <asm/special_insns.h>

#include "hypercall.h"

static unsigned long region;
module_param(region, ulong, 0);

#define LOCAL_APIC 0xfee00000UL
#define HPET 0xfed00000UL
#define ROM 0xf0000UL
#define ECAM 0xb0000000UL

#define VM_CR 0xc0010114
#define VM_CR_OFF 0x18
#define VM_HSAVE_PA 0xc0010117
#define SVM_KEY 0xc0010118

/* A kind of attack: how many tries, how many got through, the first of those. */
struct kind {
	unsigned int tries;
	unsigned int through;
	u64 first;
};

static int tell(char *text, const struct kind *kind)
{
	return scnprintf(text, PAGE_SIZE, "%u of %u (%#llx)\n", kind->through,
			 kind->tries, kind->first);
}

static void count(struct kind *kind, bool is_held, u64 what)
{
	kind->tries++;
	if (!is_held && !kind->through++)
		kind->first = what;
}

/* A value that a register must not take. */
static void write_register(struct kind *kind, u32 number, u64 value)
{
	u64 before = 0, after = 0;
	bool is_refused;

	rdmsrl_safe(number, &before);
	is_refused = wrmsrl_safe(number, value);
	rdmsrl_safe(number, &after);
	count(kind, is_refused && before == after, value);
}

/* Bits of EFER that processors have: those of Linux, and AMD-V's. */
static bool is_bit_of_efer(unsigned int bit)
{
	return bit == 0 || bit == 8 || (bit >= 10 && bit <= 21);
}

static int get_virtualization(char *text, const struct kernel_param *parameter)
{
	struct kind kind = {};
	unsigned int bit;
	u64 value;

	rdmsrl(MSR_EFER, value);
	for (bit = 0; bit < 64; bit++)
		if (!is_bit_of_efer(bit) || bit == 12)
			write_register(&kind, MSR_EFER, value ^ BIT_ULL(bit));
	write_register(&kind, VM_HSAVE_PA, region);
	write_register(&kind, SVM_KEY, 0);
	/* Locked: a write is ignored or refused. */
	wrmsrl_safe(VM_CR, 0);
	rdmsrl_safe(VM_CR, &value);
	count(&kind, value == VM_CR_OFF, value);
	return tell(text, &kind);
}

static int get_apic(char *text, const struct kernel_param *parameter)
{
	struct kind kind = {};
	u64 base, flags;

	rdmsrl(MSR_IA32_APICBASE, base);
	flags = base & ~PAGE_MASK;
	write_register(&kind, MSR_IA32_APICBASE, region | flags);
	write_register(&kind, MSR_IA32_APICBASE, SZ_4G | flags);
	write_register(&kind, MSR_IA32_APICBASE, GENMASK_ULL(63, 52) | flags);
	write_register(&kind, MSR_IA32_APICBASE,
		       base & ~(u64)MSR_IA32_APICBASE_ENABLE);
	write_register(&kind, MSR_IA32_APICBASE, base ^ MSR_IA32_APICBASE_BSP);
	write_register(&kind, MSR_IA32_APICBASE, 0);
	write_register(&kind, MSR_IA32_APICBASE, ~0ULL);
	return tell(text, &kind);
}

/* The slot of the top table that the walks go through: Linux does not use it. */
#define SLOT 300ULL
#define UPPER_HALF 0xffff000000000000ULL

/* Has LUCOS read by this entry of the top table, so many levels through SLOT. */
static s64 walk(u64 *top, u64 entry, unsigned int depth)
{
	u64 cr3 = __native_read_cr3(), address = UPPER_HALF | 0xff8;
	unsigned long flags;
	unsigned int level;
	s64 end;

	for (level = 0; level < depth; level++)
		address |= SLOT << (39 - 9 * level);
	local_irq_save(flags);
	memcpy(top, __va(cr3 & CR3_ADDR_MASK), PAGE_SIZE);
	top[SLOT] = entry;
	native_write_cr3(virt_to_phys(top));
	end = hypercall(LUCOS_CALL_REGISTER, 1, address,
			sizeof(struct lucos_registration), 0);
	native_write_cr3(cr3);
	local_irq_restore(flags);
	return end;
}

static int get_walks(char *text, const struct kernel_param *parameter)
{
	u64 *top = (u64 *)get_zeroed_page(GFP_KERNEL);
	struct kind kind = {};
	unsigned int i, depth;

	if (!top)
		return -ENOMEM;
	{
		u64 own = virt_to_phys(top);
		const u64 entries[] = {
			own | 7, region | 7, LOCAL_APIC | 7, HPET | 7,
			ROM | 7, ECAM | 7, 0xfffffff000ULL | 7,
			GENMASK_ULL(51, 12) | 7, own | _PAGE_PSE | 7,
			own | GENMASK_ULL(62, 52) | 7,
		};

		for (i = 0; i < ARRAY_SIZE(entries); i++)
			for (depth = 1; depth <= 4; depth++)
				count(&kind, walk(top, entries[i], depth) < 0,
				      entries[i]);
	}
	free_page((unsigned long)top);
	return tell(text, &kind);
}

static unsigned long place;

static int get_at(char *text, const struct kernel_param *parameter)
{
	void *there = memremap(place, PAGE_SIZE, MEMREMAP_WB);
	struct registers log = {
		.rax = LUCOS_CALL_BASE | LUCOS_CALL_LOG,
		.rdx = (unsigned long)there + PAGE_SIZE / 2,
		.rsi = 16,
	};
	s64 query, registration;

	if (!there)
		return -ENOMEM;
	/* No record is all zeros, and no ones either. */
	registration = hypercall(LUCOS_CALL_REGISTER, 1, (unsigned long)there,
				 sizeof(struct lucos_registration), 0);
	query = hypercall(LUCOS_CALL_QUERY, LUCOS_QUERY_SYSTEM, 0,
			  (unsigned long)there,
			  sizeof(struct lucos_system_status));
	make_hypercall(&log);
	memunmap(there);
	return scnprintf(text, PAGE_SIZE, "%lld %lld %lld\n", query,
			 (s64)log.rax, registration);
}

static int set_stack(const char *text, const struct kernel_param *parameter)
{
	void *stack = memremap(region, PAGE_SIZE, MEMREMAP_WB);

	if (!stack)
		return -ENOMEM;
	asm volatile("cli\n"
		     "	movq %0, %%rsp\n"
		     "	int3\n" : : "r"(stack + PAGE_SIZE - 64) : "memory");
	return 0;
}
STACK_FRAME_NON_STANDARD(set_stack);

/* Not write-through without "caches off" (APM vol. 2, 15.5.1). */
static int set_state(const char *text, const struct kernel_param *parameter)
{
	asm volatile("cli\n"
		     "	movq %%cr0, %%rax\n"
		     "	btsq $29, %%rax\n"
		     "	btrq $30, %%rax\n"
		     "	movq %%rax, %%cr0\n"
		     "	rdmsr\n"
		     : : "c"(LUCOS_REGISTER) : "rax", "rdx", "memory");
	return 0;
}

#define TRY(name)							\
	static const struct kernel_param_ops name##_operations = {	\
		.get = get_##name,					\
	};								\
	module_param_cb(name, &name##_operations, NULL, 0400)
#define END(name)							\
	static const struct kernel_param_ops name##_operations = {	\
		.set = set_##name,					\
	};								\
	module_param_cb(name, &name##_operations, NULL, 0200)

static int set_at(const char *text, const struct kernel_param *parameter)
{
	return kstrtoul(text, 0, &place);
}

static const struct kernel_param_ops at_operations = {
	.set = set_at,
	.get = get_at,
};
module_param_cb(at, &at_operations, NULL, 0600);
TRY(virtualization);
TRY(apic);
TRY(walks);
END(stack);
END(state);

static int __init attacks_init(void)
{
	return region ? 0 : -EINVAL;
}

static void __exit attacks_exit(void)
{
}

module_init(attacks_init);
module_exit(attacks_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("attacks on LUCOS for tests");
