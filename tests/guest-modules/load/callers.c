// SPDX-License-Identifier: GPL-2.0
/*
 * Updates from all processors at the same time, each by its own hypercalls.
 * Writing a number to the parameter `cycles` makes each processor apply and
 * take back its own patch so often; when LUCOS is busy with another one's call,
 * it asks again. Each patch has two functions of this module. Reading the
 * parameter tells what came of it.
 *
 * The parameter `nonce` is the address of the update manager's: whoever can
 * load modules can read it.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/linkage.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include <asm/ibt.h>
#include <asm/nmi.h>
#include <asm/msr.h>

#include <lucos/interface.h>

#define PROCESSORS 4
#define MOST_CYCLES 10000
/* Answers that one call may get before it counts as starved. */
#define MOST_TRIES 1000000
#define CODE_SIZE 10

/* Functions whose length is known: they return the number. */
#define FUNCTION(name, number)						\
	asm(".pushsection .text\n"					\
	    ".balign 16\n"						\
	    ".type " #name ", @function\n"				\
	    #name ":\n"							\
	    ASM_ENDBR							\
	    "movl $" #number ", %eax\n"					\
	    ASM_RET							\
	    ".size " #name ", . - " #name "\n"				\
	    ".pushsection .rodata\n"					\
	    ".balign 4\n"						\
	    #name "_size: .long 1f - " #name "\n"			\
	    ".popsection\n"						\
	    "1:\n"							\
	    ".popsection");						\
	int name(void);							\
	extern const u32 name##_size

#define OLD 1
#define NEW 2
#define FUNCTIONS_OF(cpu)						\
	FUNCTION(first_old_##cpu, 1);					\
	FUNCTION(first_new_##cpu, 2);					\
	FUNCTION(second_old_##cpu, 1);					\
	FUNCTION(second_new_##cpu, 2)
FUNCTIONS_OF(0);
FUNCTIONS_OF(1);
FUNCTIONS_OF(2);
FUNCTIONS_OF(3);

struct function {
	int (*code)(void);
	const u32 *size;
};

struct replacement {
	struct function old, new;
};

struct descriptor {
	struct lucos_descriptor_header header;
	struct lucos_function functions[2];
};

#define AS_FUNCTION(name) { name, &name##_size }
#define PATCH(cpu) {							\
	{ AS_FUNCTION(first_old_##cpu), AS_FUNCTION(first_new_##cpu) },	\
	{ AS_FUNCTION(second_old_##cpu), AS_FUNCTION(second_new_##cpu) } }
static const struct replacement patches[PROCESSORS][2] = {
	PATCH(0), PATCH(1), PATCH(2), PATCH(3),
};
static u8 code_at_start[PROCESSORS][2][CODE_SIZE];

static u64 *nonce;
static unsigned long nonce_address;
module_param_named(nonce, nonce_address, ulong, 0);

/* Of calls: answered queries and updates, refused ones, others. */
static atomic_t queried, busy, late, other, inconsistent, mixed;
static atomic_t done[PROCESSORS];
static unsigned int cycles;
static bool by_vmmcall;

static DEFINE_PER_CPU(struct lucos_system_status, status);
static DEFINE_PER_CPU(struct descriptor, descriptors);
static DEFINE_PER_CPU(struct work_struct, works);

static s64 hypercall(enum lucos_call number, u64 *rbx, u64 rcx, u64 rdx, u64 rsi)
{
	u64 rax = LUCOS_CALL_BASE | number;

	if (by_vmmcall)
		asm volatile("vmmcall"
			     : "+a"(rax), "+b"(*rbx), "+c"(rcx), "+d"(rdx)
			     : "S"(rsi)
			     : "memory", "cc");
	else
		asm volatile("vmcall"
			     : "+a"(rax), "+b"(*rbx), "+c"(rcx), "+d"(rdx)
			     : "S"(rsi)
			     : "memory", "cc");
	return rax;
}

/* LUCOS counts at least the caller's own patch, and at most one of each. */
static void query(unsigned int least)
{
	struct lucos_system_status *own = this_cpu_ptr(&status);
	u64 kind = LUCOS_QUERY_SYSTEM;
	s64 result = hypercall(LUCOS_CALL_QUERY, &kind, 0, (unsigned long)own,
			       sizeof(*own));

	if (result == -LUCOS_ERROR_BUSY) {
		atomic_inc(&busy);
	} else if (result != sizeof(*own)) {
		atomic_inc(&other);
	} else {
		atomic_inc(&queried);
		if (!own->registered || own->applied < least ||
		    own->applied > PROCESSORS)
			atomic_inc(&inconsistent);
	}
}

/* The caller's own functions are what its last call made them. */
static void check_own(unsigned int cpu, int expected)
{
	if (patches[cpu][0].old.code() != expected ||
	    patches[cpu][1].old.code() != expected)
		atomic_inc(&mixed);
}

/* Those of others are either. */
static void check_others(void)
{
	unsigned int cpu, i;

	for (cpu = 0; cpu < PROCESSORS; cpu++)
		for (i = 0; i < 2; i++) {
			int number = patches[cpu][i].old.code();

			if (number != OLD && number != NEW)
				atomic_inc(&mixed);
		}
}

/* A call that changes something, until it is this processor's turn. */
static bool change(unsigned int cpu, enum lucos_call number, u64 *rbx, u64 rcx,
		   u64 rdx, int before)
{
	unsigned int tries;
	s64 result;

	for (tries = 0; tries < MOST_TRIES; tries++) {
		*rbx = *nonce;
		result = hypercall(number, rbx, rcx, rdx, 0);
		if (result >= 0) {
			atomic_inc(&done[cpu]);
			return true;
		}
		/* Nothing has changed. */
		check_own(cpu, before);
		if (result == -LUCOS_ERROR_BUSY) {
			atomic_inc(&busy);
		} else if (result == -LUCOS_ERROR_DEADLINE) {
			atomic_inc(&late);
		} else {
			pr_err("callers: call %u ended with %lld\n", number,
			       result);
			break;
		}
		check_others();
		query(before == NEW);
		cond_resched();
	}
	atomic_inc(&other);
	return false;
}

static void fill_in(unsigned int cpu, struct descriptor *descriptor)
{
	struct lucos_descriptor_header *header = &descriptor->header;
	struct lucos_function *function = descriptor->functions;
	unsigned int i;

	memset(descriptor, 0, sizeof(*descriptor));
	memcpy(header->magic, "LUCOSUPD", 8);
	header->version = LUCOS_DESCRIPTOR_VERSION;
	header->header_size = sizeof(*header);
	header->total_length = sizeof(*descriptor);
	snprintf(header->name, sizeof(header->name), "caller_%u", cpu);
	header->function_count = 2;
	header->function_offset = sizeof(*header);
	for (i = 0; i < 2; i++, function++) {
		const struct function *old = &patches[cpu][i].old;
		const struct function *new = &patches[cpu][i].new;

		function->old_start = (unsigned long)old->code;
		function->old_size = *old->size;
		function->new_entry = (unsigned long)new->code;
		function->new_size = *new->size;
		/* Behind the ENDBR. */
		function->site_offset = IS_ENABLED(CONFIG_X86_KERNEL_IBT) ? 4 : 0;
		snprintf(function->name, sizeof(function->name), "function_%u", i);
	}
}

static void make_cycles(struct work_struct *work)
{
	unsigned int cpu = raw_smp_processor_id(), i;
	struct descriptor *descriptor = this_cpu_ptr(&descriptors);
	u64 number, ignored;

	if (cpu >= PROCESSORS)
		return;
	fill_in(cpu, descriptor);
	for (i = 0; i < cycles; i++) {
		check_own(cpu, OLD);
		if (!change(cpu, LUCOS_CALL_APPLY, &number,
			    (unsigned long)descriptor, sizeof(*descriptor),
			    OLD))
			return;
		check_own(cpu, NEW);
		query(1);
		if (!change(cpu, LUCOS_CALL_ROLLBACK, &ignored, number, 0, NEW))
			return;
	}
	check_own(cpu, OLD);
}

/*
 * The manager claims the NMIs of its own calls, and those for which it finds a
 * new stop. These calls are not its own, and their stops follow so closely that
 * two NMIs can come for one new number.
 */
static int claim_kick(unsigned int type, struct pt_regs *regs)
{
	return NMI_HANDLED;
}

static int start_cycles(const char *text, const struct kernel_param *param)
{
	int error = kstrtouint(text, 0, &cycles), cpu;

	if (error || cycles > MOST_CYCLES)
		return error ?: -EINVAL;
	error = register_nmi_handler(NMI_UNKNOWN, claim_kick, 0, "callers");
	if (error)
		return error;
	for_each_online_cpu(cpu)
		schedule_work_on(cpu, per_cpu_ptr(&works, cpu));
	for_each_online_cpu(cpu)
		flush_work(per_cpu_ptr(&works, cpu));
	/* The last stop's NMI can come when its call has ended. */
	msleep(500);
	unregister_nmi_handler(NMI_UNKNOWN, "callers");
	return 0;
}

static unsigned int different_functions(void)
{
	unsigned int cpu, i, different = 0;

	for (cpu = 0; cpu < PROCESSORS; cpu++)
		for (i = 0; i < 2; i++)
			different += memcmp(code_at_start[cpu][i],
					    patches[cpu][i].old.code,
					    CODE_SIZE) != 0;
	return different;
}

static int show_results(char *buffer, const struct kernel_param *param)
{
	int size, cpu;

	size = scnprintf(buffer, PAGE_SIZE,
			 "queried %d\nbusy %d\nlate %d\nother %d\ninconsistent %d\n"
			 "mixed %d\ndifferent_functions %u\n",
			 atomic_read(&queried), atomic_read(&busy),
			 atomic_read(&late), atomic_read(&other),
			 atomic_read(&inconsistent), atomic_read(&mixed),
			 different_functions());
	for (cpu = 0; cpu < PROCESSORS; cpu++)
		size += scnprintf(buffer + size, PAGE_SIZE - size, "done.%d %d\n",
				  cpu, atomic_read(&done[cpu]));
	return size;
}

static const struct kernel_param_ops operations = {
	.set = start_cycles,
	.get = show_results,
};
module_param_cb(cycles, &operations, NULL, 0600);

static int __init callers_init(void)
{
	int cpu, i;

	if (!nonce_address)
		return -EINVAL;
	nonce = (u64 *)nonce_address;
	by_vmmcall = native_read_msr(LUCOS_REGISTER) >> LUCOS_FEATURES_SHIFT &
		     LUCOS_FEATURE_VMMCALL;
	for_each_possible_cpu(cpu)
		INIT_WORK(per_cpu_ptr(&works, cpu), make_cycles);
	for (cpu = 0; cpu < PROCESSORS; cpu++)
		for (i = 0; i < 2; i++)
			memcpy(code_at_start[cpu][i], patches[cpu][i].old.code,
			       CODE_SIZE);
	return 0;
}

static void __exit callers_exit(void)
{
}

module_init(callers_init);
module_exit(callers_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("updates from all processors for tests");
