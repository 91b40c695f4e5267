// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions that leave the guest, or that a processor refuses: what the
 * kernel sees of them. Each parameter is read to run one.
 *
 * steps: the offsets, from the first instruction, at which single steps of
 * instructions stop of which LUCOS carries out two.
 * cr3, cr4: 1 when a reserved bit is refused.
 * invd: 1 when the kernel lives after it.
 * sleep: what PM1a control, at its place in QEMU's Q35, says of the sleep after
 * each of the types 1 to 3 was ordered.
 * line20: 1 when address line 20 is on after it was switched off.
 */
#include <linux/irqflags.h>
#include <linux/kdebug.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/preempt.h>

#include <asm/asm.h>
#include <asm/io.h>
#include <asm/msr.h>
#include <asm/special_insns.h>

#include <lucos/interface.h>

#define MOST 24

static unsigned long stops[MOST];
static unsigned int count;
static bool stepping;

static int note_stop(struct notifier_block *block, unsigned long event,
		     void *data)
{
	const struct die_args *args = data;

	if (event != DIE_DEBUG || !READ_ONCE(stepping))
		return NOTIFY_DONE;
	if (count < MOST)
		stops[count++] = args->regs->ip;
	return NOTIFY_STOP;
}

static struct notifier_block notifier = { .notifier_call = note_stop };

/* Gives the address of the first instruction that is stepped. */
static noinline unsigned long step(void)
{
	unsigned long rax = LUCOS_CALL_BASE | LUCOS_CALL_HELLO;
	unsigned long rbx = LUCOS_INTERFACE_VERSION;
	unsigned long rcx = LUCOS_REGISTER, rdx, first;

	asm volatile("leaq 1f(%%rip), %[first]\n"
		     "	movq %%rax, %%r8\n"
		     "	pushfq\n"
		     "	orq $0x100, (%%rsp)\n"
		     "	popfq\n"
		     "1:	nop\n"
		     "	rdmsr\n"
		     "	movq %%r8, %%rax\n"
		     "	vmmcall\n"
		     "	nop\n"
		     "	pushfq\n"
		     "	andq $~0x100, (%%rsp)\n"
		     "	popfq\n"
		     : [first] "=&r"(first), "+a"(rax), "+b"(rbx), "+c"(rcx),
		       "=d"(rdx)
		     :
		     : "r8", "memory", "cc");
	return first;
}

static int get_steps(char *text, const struct kernel_param *parameter)
{
	unsigned long flags, first;
	unsigned int i;
	int size = 0;

	register_die_notifier(&notifier);
	local_irq_save(flags);
	count = 0;
	WRITE_ONCE(stepping, true);
	first = step();
	WRITE_ONCE(stepping, false);
	local_irq_restore(flags);
	unregister_die_notifier(&notifier);
	for (i = 0; i < count; i++)
		size += scnprintf(text + size, PAGE_SIZE - size, "%lu ",
				  stops[i] - first);
	return size + scnprintf(text + size, PAGE_SIZE - size, "\n");
}

static int get_cr3(char *text, const struct kernel_param *parameter)
{
	unsigned long flags, value;
	int refused = 1;

	local_irq_save(flags);
	asm volatile("movq %%cr3, %[value]\n"
		     "	btsq $45, %[value]\n"
		     "1:	movq %[value], %%cr3\n"
		     "	movl $0, %[refused]\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b)
		     : [value] "=&r"(value), [refused] "+r"(refused)
		     :
		     : "memory", "cc");
	local_irq_restore(flags);
	return scnprintf(text, PAGE_SIZE, "%d\n", refused);
}

static int get_cr4(char *text, const struct kernel_param *parameter)
{
	unsigned long flags, value;
	int refused = 1;

	local_irq_save(flags);
	asm volatile("movq %%cr4, %[value]\n"
		     "	btsq $24, %[value]\n"
		     "1:	movq %[value], %%cr4\n"
		     "	movl $0, %[refused]\n"
		     "2:\n" _ASM_EXTABLE(1b, 2b)
		     : [value] "=&r"(value), [refused] "+r"(refused)
		     :
		     : "memory", "cc");
	local_irq_restore(flags);
	return scnprintf(text, PAGE_SIZE, "%d\n", refused);
}

static int get_invd(char *text, const struct kernel_param *parameter)
{
	asm volatile("invd" : : : "memory");
	return scnprintf(text, PAGE_SIZE, "1\n");
}

#define PM1A_CONTROL 0x604
#define SLEEP_TYPE(number) ((number) << 10)
#define SLEEP_TYPES SLEEP_TYPE(7)
#define SLEEP_ENABLE (1 << 13)

static int get_sleep(char *text, const struct kernel_param *parameter)
{
	int size = 0, type;

	for (type = 1; type <= 3; type++) {
		u16 rest = inw(PM1A_CONTROL) & ~SLEEP_TYPES;

		outw(rest | SLEEP_TYPE(type) | SLEEP_ENABLE, PM1A_CONTROL);
		size += scnprintf(text + size, PAGE_SIZE - size, "%#x ",
				  inw(PM1A_CONTROL) &
					  (SLEEP_TYPES | SLEEP_ENABLE));
	}
	return size + scnprintf(text + size, PAGE_SIZE - size, "\n");
}

#define SYSTEM_CONTROL 0x92
#define LINE_20 (1 << 1)

static int get_line20(char *text, const struct kernel_param *parameter)
{
	outb(inb(SYSTEM_CONTROL) & ~LINE_20, SYSTEM_CONTROL);
	return scnprintf(text, PAGE_SIZE, "%d\n",
			 !!(inb(SYSTEM_CONTROL) & LINE_20));
}

static const struct kernel_param_ops sleep_operations = { .get = get_sleep };
static const struct kernel_param_ops line20_operations = { .get = get_line20 };
static const struct kernel_param_ops steps_operations = { .get = get_steps };
static const struct kernel_param_ops cr3_operations = { .get = get_cr3 };
static const struct kernel_param_ops cr4_operations = { .get = get_cr4 };
static const struct kernel_param_ops invd_operations = { .get = get_invd };
module_param_cb(steps, &steps_operations, NULL, 0400);
module_param_cb(cr3, &cr3_operations, NULL, 0400);
module_param_cb(cr4, &cr4_operations, NULL, 0400);
module_param_cb(invd, &invd_operations, NULL, 0400);
module_param_cb(sleep, &sleep_operations, NULL, 0400);
module_param_cb(line20, &line20_operations, NULL, 0400);

static int __init instructions_init(void)
{
	return 0;
}

static void __exit instructions_exit(void)
{
}

module_init(instructions_init);
module_exit(instructions_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("instructions that leave the guest, for tests");
