// SPDX-License-Identifier: GPL-2.0
/*
 * 32-bit code of the kernel: reading the parameter `compat` runs RDMSR of
 * LUCOS's register and the hypercall HELLO in a 32-bit code segment, and gives
 * the upper half of the register, its version, and RAX and RBX of the call. RAX
 * is 256 when the call raised an invalid opcode.
 */
#include <linux/io.h>
#include <linux/irqflags.h>
#include <linux/kdebug.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/objtool.h>
#include <linux/pgtable.h>
#include <linux/string.h>

#include <asm/segment.h>
#include <asm/special_insns.h>
#include <asm/trapnr.h>

#include <lucos/interface.h>

/* Where the code is mapped, and where in its page it puts what it finds. */
#define LOW 0x10000000
#define RESULTS 0x800
/* What 64-bit code needs again. */
#define STACK 0x810
#define RETURN 0x818
#define FRAME 0x820
#define DATA 0x828

#define TEXT_OF(value) #value
#define TEXT(value) TEXT_OF(value)
#define AT(offset) TEXT(LOW + offset)

extern const char compat_start[], compat_end[];

asm(".pushsection .rodata\n"
    "compat_start:\n"
    "	.code32\n"
    "	movl $" TEXT(LUCOS_REGISTER) ", %ecx\n"
    "	rdmsr\n"
    "	movl %edx, " AT(RESULTS) "\n"
    "	movl %eax, " AT(RESULTS + 4) "\n"
    "	movl $0x4c550000, %eax\n"
    "	movl $" TEXT(LUCOS_INTERFACE_VERSION) ", %ebx\n"
    "	vmmcall\n"
    "	movl %eax, " AT(RESULTS + 8) "\n"
    "	movl %ebx, " AT(RESULTS + 12) "\n"
    "	ljmp $0x10, $" AT((1f - compat_start)) "\n"
    "	.code64\n"
    "1:	movq " AT(STACK) ", %rsp\n"
    "	movq " AT(RETURN) ", %rax\n"
    "	jmp *%rax\n"
    "compat_end:\n"
    ".popsection\n");

/* Interrupts are off, and the tables map the page at LOW. */
static noinline void run(u8 *page)
{
	asm volatile("	movl %%ds, %%eax\n"
		     "	movl %%eax, " TEXT(DATA) "(%%rdi)\n"
		     "	movl %[data], %%eax\n"
		     "	movl %%eax, %%ds\n"
		     "	movq %%rbp, " TEXT(FRAME) "(%%rdi)\n"
		     "	leaq 1f(%%rip), %%rax\n"
		     "	movq %%rax, " TEXT(RETURN) "(%%rdi)\n"
		     "	movq %%rsp, " TEXT(STACK) "(%%rdi)\n"
		     "	pushq %[code]\n"
		     "	pushq $" TEXT(LOW) "\n"
		     "	lretq\n"
		     "1:	movq " AT(FRAME) ", %%rbp\n"
		     "	movl " AT(DATA) ", %%eax\n"
		     "	movl %%eax, %%ds\n"
		     : "+D"(page)
		     : [data] "i"(__KERNEL_DS), [code] "i"(__KERNEL32_CS)
		     : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10",
		       "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}
STACK_FRAME_NON_STANDARD(run);

/* The call is over, with this in RAX. */
#define REFUSED_INSTRUCTION 256
#define CALL_LENGTH 3

static int refuse(struct notifier_block *block, unsigned long event, void *data)
{
	const struct die_args *args = data;

	if (event != DIE_TRAP || args->trapnr != X86_TRAP_UD ||
	    (args->regs->ip & PAGE_MASK) != LOW)
		return NOTIFY_DONE;
	args->regs->ax = REFUSED_INSTRUCTION;
	args->regs->ip += CALL_LENGTH;
	return NOTIFY_STOP;
}

static struct notifier_block notifier = { .notifier_call = refuse };

/* Page tables: top, three levels below it, and the page itself. */
#define PAGES 5

static void map(u8 *pages)
{
	u64 cr3 = __native_read_cr3();
	unsigned int level;

	memcpy(pages, __va(cr3 & CR3_ADDR_MASK), PAGE_SIZE);
	for (level = 0; level < PAGES - 1; level++) {
		u64 *table = (u64 *)(pages + level * PAGE_SIZE);
		unsigned int index = LOW >> (39 - 9 * level) & 511;

		/* Present, writable. */
		table[index] = virt_to_phys(pages + (level + 1) * PAGE_SIZE) | 3;
	}
}

static int get_compat(char *text, const struct kernel_param *parameter)
{
	u8 *pages = alloc_pages_exact(PAGES * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO);
	u8 *page = pages + (PAGES - 1) * PAGE_SIZE;
	const u32 *results = (u32 *)(page + RESULTS);
	unsigned long flags;
	u64 cr3;
	int size;

	if (!pages)
		return -ENOMEM;
	memcpy(page, compat_start, compat_end - compat_start);
	register_die_notifier(&notifier);
	local_irq_save(flags);
	map(pages);
	cr3 = __native_read_cr3();
	native_write_cr3(virt_to_phys(pages));
	run(page);
	native_write_cr3(cr3);
	local_irq_restore(flags);
	unregister_die_notifier(&notifier);
	size = scnprintf(text, PAGE_SIZE, "%#x %u %d %u\n", results[0],
			 (u16)results[1], (s32)results[2], results[3]);
	free_pages_exact(pages, PAGES * PAGE_SIZE);
	return size;
}

static const struct kernel_param_ops compat_operations = { .get = get_compat };
module_param_cb(compat, &compat_operations, NULL, 0400);

static int __init compat_init(void)
{
	return 0;
}

static void __exit compat_exit(void)
{
}

module_init(compat_init);
module_exit(compat_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("32-bit code of the kernel, for tests");
