// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/hostile: a test writes a seed and a number of hypercalls; so many wrong
 * ones are made. Reading tells how they ended.
 *
 * The parameter `nonce` is the address of the update manager's: whoever can
 * load modules can read it. No call is right, so none may change anything.
 */
#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <asm/io.h>

#include "hostile.h"
#include "hypercall.h"

static u64 *nonce;
static unsigned long nonce_address;
module_param_named(nonce, nonce_address, ulong, 0);

static DEFINE_MUTEX(lock);

#define PAGES 2
#define LOCAL_APIC 0xfee00000UL

/* What came of all calls. */
static struct {
	u64 seed;
	u64 calls;
	/* By error; 0: worked, the last one: the instruction was refused. */
	u64 ends[257];
	/* Calls that ended otherwise than they must, and the first of them. */
	u64 surprises;
	/* Errors of descriptors that changed meanwhile. */
	DECLARE_BITMAP(moving_errors, 256);
	u64 call;
	const char *kind;
	u32 index;
	s64 expected;
	s64 found;
} state;

static u64 random_state;

u64 hostile_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

u32 hostile_below(u32 limit)
{
	return (hostile_random() >> 32) % limit;
}

static s64 call(struct registers *registers)
{
	s64 result = make_hypercall(registers);

	if (result == REFUSED_INSTRUCTION)
		state.ends[REFUSED_INSTRUCTION]++;
	else if (result >= 0)
		state.ends[0]++;
	else
		state.ends[min_t(u64, -result, REFUSED_INSTRUCTION - 1)]++;
	return result;
}

/* Stands for any error. */
#define ANY_ERROR 1

/* Another end than the one that must come is a surprise. */
static void judge(const char *kind, u32 index, s64 expected, s64 found)
{
	if (found == expected || (expected == ANY_ERROR && found < 0))
		return;
	if (state.surprises++)
		return;
	state.call = state.calls;
	state.kind = kind;
	state.index = index;
	state.expected = expected;
	state.found = found;
}

/* Where descriptors lie; behind it nothing is mapped. */
static u8 *buffer;

static s64 hand_over(const struct draft *draft)
{
	struct registers registers = {
		.rax = LUCOS_CALL_BASE | LUCOS_CALL_APPLY,
		.rbx = draft->nonce,
		.rcx = draft->address,
		.rdx = draft->length,
	};

	if (!draft->address) {
		/* Now and then at the very end of what is mapped. */
		u32 place = hostile_below(4) ? 8 * hostile_below(64) :
			PAGES * PAGE_SIZE - sizeof(draft->bytes);

		memcpy(buffer + place, &draft->bytes, sizeof(draft->bytes));
		registers.rcx = (unsigned long)buffer + place;
	}
	return call(&registers);
}

/* Right but for one thing: that thing is what LUCOS must complain about. */
static void one_defect(void)
{
	u32 index = hostile_below(hostile_defect_count);
	struct draft draft;

	hostile_right_draft(&draft, *nonce);
	/* Not even asked to change anything, or asked to. */
	draft.bytes.header.flags = hostile_below(2);
	hostile_defects[index].make(&draft);
	judge("defect", index, -(s64)hostile_defects[index].error,
	      hand_over(&draft));
}

/* Bytes changed at random; the second function stays wrong. */
static void noise(void)
{
	u32 changes = 1 + hostile_below(8);
	struct draft draft;

	hostile_right_draft(&draft, *nonce);
	draft.bytes.header.flags = 0;
	hostile_expect_others(&draft);
	while (changes--) {
		u32 place = hostile_below(offsetof(struct draft, bytes.functions[1]));

		((u8 *)&draft.bytes)[place] = hostile_random();
	}
	judge("noise", 0, ANY_ERROR, hand_over(&draft));
}

/* Bytes that never were a descriptor, from anywhere. */
static void garbage(void)
{
	struct draft draft;
	u32 i;

	for (i = 0; i < sizeof(draft.bytes); i++)
		((u8 *)&draft.bytes)[i] = hostile_random();
	draft.nonce = *nonce;
	draft.address = hostile_below(2) ? hostile_wild_address() : 0;
	draft.length = hostile_random() >> hostile_below(64);
	judge("garbage", 0, ANY_ERROR, hand_over(&draft));
}

/*
 * Another processor writes this descriptor all the time, always wrong in its
 * second function and in one more place.
 */
static struct draft *moving;

static int write_all_the_time(void *unused)
{
	struct draft right;
	u32 turn = 0;

	hostile_right_draft(&right, *nonce);
	while (!kthread_should_stop()) {
		struct lucos_descriptor_header *header = &moving->bytes.header;
		struct lucos_function *first = &moving->bytes.functions[0];

		WRITE_ONCE(header->function_count, turn & 1 ? 2 : 64);
		WRITE_ONCE(header->function_offset,
			   turn & 2 ? 0xfffffff8 : right.bytes.header.function_offset);
		WRITE_ONCE(header->total_length,
			   turn & 4 ? 65536 : right.bytes.header.total_length);
		WRITE_ONCE(first->old_start, turn & 8 ? 0x1000 :
			   right.bytes.functions[0].old_start);
		WRITE_ONCE(first->old_size, turn & 16 ? 0xffffffff : 11);
		WRITE_ONCE(first->expected_length, turn & 32 ? 0xffffffff : 4);
		turn++;
		if (!(turn & 0xfff))
			cond_resched();
	}
	return 0;
}

static void moving_target(void)
{
	struct registers registers = {
		.rax = LUCOS_CALL_BASE | LUCOS_CALL_APPLY,
		.rbx = *nonce,
		.rcx = (unsigned long)&moving->bytes,
		.rdx = offsetof(struct draft, bytes.dependency),
	};

	s64 result = call(&registers);

	judge("moving", 0, ANY_ERROR, result);
	if (result < 0)
		__set_bit(min_t(u64, -result, 255), state.moving_errors);
}

/* A registration that is wrong in one field: LUCOS tells which. */
static void registration(void)
{
	struct lucos_registration record = {
		.version = LUCOS_REGISTRATION_VERSION,
		.size = sizeof(record),
		.text_start = (unsigned long)&_printk & ~0xfffUL,
		.text_end = ((unsigned long)&_printk & ~0xfffUL) + 0x100000,
		.modules_start = 0xffffffffc0000000,
		.modules_end = 0xffffffffff000000,
		.boot_identity = { 1 },
	};
	struct registers registers = {
		.rax = LUCOS_CALL_BASE | LUCOS_CALL_REGISTER,
		.rbx = hostile_random() | 1,
		.rcx = (unsigned long)buffer,
		.rdx = sizeof(record),
	};
	s64 expected = -LUCOS_ERROR_REGISTRATION;
	u32 defect = hostile_below(15);

	switch (defect) {
	case 10: record.reserved2 = hostile_random() | 1; break;
	case 11: record.processors = 1 + hostile_below(64); break;
	case 12: record.upcall_pages = hostile_wild_address() | 1; break;
	case 13: record.upcall_entry = hostile_below(0x10000) + 1; break;
	case 14:
		/* Upcalls whose pages are not there. */
		record.upcall_entry = record.modules_start;
		record.upcall_pages = hostile_places.end_of_buffer;
		record.processors = 1 + hostile_below(64);
		expected = -LUCOS_ERROR_ADDRESS;
		break;
	case 0: record.version += 1 + hostile_below(1000); break;
	case 1: record.size += 8; break;
	case 2: record.flags = 1U << hostile_below(32); break;
	case 3: record.build_id_length = 21; break;
	case 4: record.reserved = 1; break;
	case 5: swap(record.text_start, record.text_end); break;
	case 6: record.modules_start = record.text_start; break;
	case 7: record.boot_identity[0] = 0; break;
	case 8:
		registers.rcx = hostile_wild_address();
		expected = -LUCOS_ERROR_ADDRESS;
		break;
	default:
		registers.rbx = 0;
		expected = -LUCOS_ERROR_ARGUMENT;
	}
	memcpy(buffer, &record, sizeof(record));
	judge("registration", defect, expected, call(&registers));
}

/* Has LUCOS write where it must not. */
static void reading(void)
{
	struct registers registers = {
		.rax = LUCOS_CALL_BASE | LUCOS_CALL_QUERY,
		.rbx = LUCOS_QUERY_SYSTEM,
		.rdx = hostile_below(2) ? hostile_wild_address() :
			(unsigned long)&_printk,
		.rsi = 4096,
	};

	if (hostile_below(2)) {
		registers.rbx = LUCOS_QUERY_EXIT_COUNTERS;
		registers.rcx = LUCOS_ALL_PROCESSORS;
	}
	judge("reading", 0, -LUCOS_ERROR_ADDRESS, call(&registers));
}

/* Those about data that has two forms. */
static void data_call(struct registers *registers, s64 *expected)
{
	registers->rax = LUCOS_CALL_DRAINED + hostile_below(5);
	switch (registers->rax) {
	case LUCOS_CALL_PAIR:
	case LUCOS_CALL_UNPAIR:
		/* Where their record is. */
		registers->rcx = hostile_places.end_of_buffer - hostile_below(24);
		*expected = -LUCOS_ERROR_ADDRESS;
		break;
	case LUCOS_CALL_WITHDRAW:
		registers->rdx = 1 + hostile_below(5);
		break;
	case LUCOS_CALL_DONE:
		*expected = -LUCOS_ERROR_UNSUPPORTED;
		break;
	}
}

/* Calls with the right nonce about what does not exist. */
static void strange(void)
{
	struct registers registers = { .rbx = *nonce };
	s64 expected = -LUCOS_ERROR_UNKNOWN_PATCH;
	u32 kind = hostile_below(8);

	/* LUCOS counts patches from 1, and this kernel has made few. */
	registers.rcx = 0x10000 + hostile_below(0x10000000);
	switch (kind) {
	case 0:
		registers.rax = LUCOS_CALL_ROLLBACK;
		break;
	case 1:
		registers.rax = LUCOS_CALL_JUMP;
		registers.rdx = (u32)hostile_random();
		break;
	case 2:
		registers.rax = LUCOS_CALL_JUMP;
		registers.rdx = 1ULL << 32 | hostile_random();
		expected = -LUCOS_ERROR_ARGUMENT;
		break;
	case 3:
		registers.rax = LUCOS_CALL_UNREGISTER;
		expected = -LUCOS_ERROR_ARGUMENT;
		break;
	case 4:
		registers.rax = LUCOS_CALL_MEASURE_STOP;
		expected = -LUCOS_ERROR_ARGUMENT;
		break;
	case 5:
		registers.rax = LUCOS_CALL_DONE + 1 + hostile_below(0xfe00);
		expected = -LUCOS_ERROR_UNKNOWN_CALL;
		break;
	case 6:
		data_call(&registers, &expected);
		break;
	default:
		registers.rax = LUCOS_CALL_HELLO;
		registers.rbx = LUCOS_INTERFACE_VERSION + 1 + hostile_below(1000);
		expected = -LUCOS_ERROR_INTERFACE_VERSION;
	}
	registers.rax |= LUCOS_CALL_BASE;
	judge("strange", kind, expected, call(&registers));
}

/* Random registers, but for PARK, which does not return. */
static void random_call(void)
{
	struct registers registers = {
		.rbx = hostile_random() >> hostile_below(64),
		.rcx = hostile_random() >> hostile_below(64),
		.rdx = hostile_wild_address(),
		.rsi = hostile_random() >> hostile_below(64),
	};

	registers.rax = LUCOS_CALL_BASE | hostile_below(LUCOS_CALL_DONE);
	registers.rax += (registers.rax & 0xffff) >= LUCOS_CALL_PARK;
	if (hostile_below(4)) {
		call(&registers);
		return;
	}
	/* No hypercall at all. */
	registers.rax ^= 1ULL << (16 + hostile_below(48));
	judge("no call", 0, REFUSED_INSTRUCTION, call(&registers));
}

static void (*const kinds[])(void) = {
	one_defect, one_defect, one_defect, one_defect, noise, noise, garbage,
	moving_target, moving_target, registration, reading, strange, strange,
	random_call,
};

static void storm(u64 seed, u64 calls)
{
	memset(&state, 0, sizeof(state));
	state.seed = seed;
	random_state = seed | 1;
	for (state.calls = 0; state.calls < calls; state.calls++) {
		kinds[hostile_below(ARRAY_SIZE(kinds))]();
		cond_resched();
	}
}

static ssize_t device_write(struct file *file, const char __user *data,
			    size_t length, loff_t *offset)
{
	struct task_struct *writer;
	unsigned long long seed, calls;
	char line[64];

	if (length >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, data, length))
		return -EFAULT;
	line[length] = '\0';
	if (sscanf(line, "%llu %llu", &seed, &calls) != 2)
		return -EINVAL;
	mutex_lock(&lock);
	hostile_right_draft(moving, *nonce);
	moving->bytes.header.flags = 0;
	hostile_expect_others(moving);
	writer = kthread_create(write_all_the_time, NULL, "hostile");
	if (IS_ERR(writer)) {
		mutex_unlock(&lock);
		return PTR_ERR(writer);
	}
	/* The test writes from the first processor. */
	kthread_bind(writer, cpumask_last(cpu_online_mask));
	wake_up_process(writer);
	storm(seed, calls);
	kthread_stop(writer);
	mutex_unlock(&lock);
	return length;
}

/* Whether a descriptor without a defect passes all checks. */
static s64 right_one(void)
{
	struct draft draft;

	hostile_right_draft(&draft, *nonce);
	return hand_over(&draft);
}

static ssize_t device_read(struct file *file, char __user *data, size_t length,
			   loff_t *offset)
{
	char *text;
	ssize_t result;
	int size, i;

	text = vmalloc(PAGE_SIZE);
	if (!text)
		return -ENOMEM;
	mutex_lock(&lock);
	size = scnprintf(text, PAGE_SIZE,
			 "seed %llu\ncalls %llu\nsurprises %llu\nright %lld\nwhole %d\nmoving_errors %d\n",
			 state.seed, state.calls, state.surprises, right_one(),
			 hostile_code_is_whole(),
			 bitmap_weight(state.moving_errors, 256));
	if (state.surprises)
		size += scnprintf(text + size, PAGE_SIZE - size,
				  "first call %llu, %s %u: %lld instead of %lld\n",
				  state.call, state.kind, state.index,
				  state.found, state.expected);
	for (i = 0; i < ARRAY_SIZE(state.ends); i++)
		if (state.ends[i])
			size += scnprintf(text + size, PAGE_SIZE - size,
					  "end %d %llu\n", i, state.ends[i]);
	mutex_unlock(&lock);
	result = simple_read_from_buffer(data, length, offset, text, size);
	vfree(text);
	return result;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.read = device_read,
	.write = device_write,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hostile",
	.fops = &operations,
	.mode = 0600,
};

static void __iomem *apic;
static void *hypervisor;

static void release(void)
{
	if (apic)
		iounmap(apic);
	if (hypervisor)
		memunmap(hypervisor);
	vfree(moving);
	vfree(buffer);
}

/* Maps the memory of LUCOS, which is none to this kernel. */
static void *map_hypervisor(void)
{
	struct lucos_system_status *status = (void *)buffer;
	struct registers registers = {
		.rax = LUCOS_CALL_BASE | LUCOS_CALL_QUERY,
		.rbx = LUCOS_QUERY_SYSTEM,
		.rdx = (unsigned long)buffer,
		.rsi = sizeof(*status),
	};

	if (call(&registers) != sizeof(*status))
		return NULL;
	return memremap(status->region_start, PAGE_SIZE, MEMREMAP_WB);
}

static int __init hostile_init(void)
{
	int error;

	if (!nonce_address)
		return -EINVAL;
	nonce = (u64 *)nonce_address;
	/* A page that is not mapped follows. */
	buffer = vmalloc(PAGES * PAGE_SIZE);
	moving = vmalloc(sizeof(*moving));
	apic = ioremap(LOCAL_APIC, PAGE_SIZE);
	if (buffer)
		hypervisor = map_hypervisor();
	if (!buffer || !moving || !apic || !hypervisor) {
		release();
		return -ENOMEM;
	}
	hostile_places.end_of_buffer = (unsigned long)buffer + PAGES * PAGE_SIZE;
	hostile_places.device = (unsigned long)apic;
	hostile_places.hypervisor = (unsigned long)hypervisor;
	error = misc_register(&device);
	if (error)
		release();
	return error;
}

static void __exit hostile_exit(void)
{
	misc_deregister(&device);
	release();
}

module_init(hostile_init);
module_exit(hostile_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("wrong hypercalls");
