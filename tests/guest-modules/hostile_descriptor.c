// SPDX-License-Identifier: GPL-2.0
/* Descriptors that are right but for one thing. */
#include <linux/kernel.h>
#include <linux/printk.h>
#include <linux/string.h>

#include "hostile.h"

/*
 * What the descriptors call functions. LUCOS goes by the areas that the kernel
 * registered, and a module's constants lie in that for modules.
 *
 * push %rbp; mov %rsp,%rbp; mov $1,%eax; pop %rbp; ret
 */
#define PLAIN 0x55, 0x48, 0x89, 0xe5, 0xb8, 1, 0, 0, 0, 0x5d, 0xc3
static const u8 plain[16] = { PLAIN };
static const u8 plain_too[16] = { PLAIN };
/* dec %edi; jne to the start; ret */
static const u8 loop[16] = { 0xff, 0xcf, 0x75, 0xfc, 0xc3 };
/* push %es, which is no instruction in 64-bit mode */
static const u8 nonsense[16] = { 0x06, 0x90, 0x90, 0x90, 0x90, 0xc3 };
static const u8 breakpoint[16] = { 0xcc, 0x90, 0x90, 0x90, 0x90, 0xc3 };
static const u8 new_code[2][16] = { { PLAIN }, { PLAIN } };
/* What they call values. */
static const u8 objects[2][16] = { "an object", "another one" };

struct hostile_places hostile_places;

bool hostile_code_is_whole(void)
{
	static const u8 expected[16] = { PLAIN };

	return !memcmp(plain, expected, 16) &&
	       !memcmp(plain_too, expected, 16) &&
	       !memcmp(new_code[0], expected, 16) &&
	       !memcmp(new_code[1], expected, 16) &&
	       !memcmp(objects[0], "an object", 10) &&
	       !memcmp(objects[1], "another one", 12) && loop[0] == 0xff && nonsense[0] == 0x06 && breakpoint[0] == 0xcc;
}

static void right_function(struct lucos_function *function, const u8 *code,
			   unsigned int index)
{
	memset(function, 0, sizeof(*function));
	function->old_start = (unsigned long)code;
	function->old_size = 11;
	function->new_entry = (unsigned long)new_code[index];
	function->new_size = 11;
	function->expected_length = 4;
	memcpy(function->expected, code, 4);
	memset(function->expected_mask, 0xff, 4);
	snprintf(function->name, sizeof(function->name), "plain%u", index);
}

static void right_value(struct lucos_value *value, unsigned int index)
{
	memset(value, 0, sizeof(*value));
	value->address = (unsigned long)objects[index];
	value->length = 8;
	memcpy(value->old, objects[index], 8);
	memcpy(value->new, "whatever", 8);
	memset(value->mask, 0xff, 8);
	snprintf(value->name, sizeof(value->name), "object%u", index);
}

static void set_length(struct draft *draft, u64 length)
{
	draft->length = length;
	draft->bytes.header.total_length = length;
}

void hostile_right_draft(struct draft *draft, u64 nonce)
{
	struct lucos_descriptor_header *header = &draft->bytes.header;

	memset(draft, 0, sizeof(*draft));
	memcpy(header->magic, "LUCOSUPD", 8);
	header->version = LUCOS_DESCRIPTOR_VERSION;
	header->header_size = sizeof(*header);
	header->flags = LUCOS_FLAG_CHECK_ONLY;
	strscpy(header->name, "hostile", sizeof(header->name));
	header->value_count = 2;
	header->value_offset = offsetof(struct draft, bytes.values);
	right_value(&draft->bytes.values[0], 0);
	right_value(&draft->bytes.values[1], 1);
	header->function_count = 2;
	header->function_offset = offsetof(struct draft, bytes.functions);
	right_function(&draft->bytes.functions[0], plain, 0);
	right_function(&draft->bytes.functions[1], plain_too, 1);
	set_length(draft, offsetof(struct draft, bytes.dependency));
	draft->nonce = nonce;
}

void hostile_with_dependency(struct draft *draft, const char *name)
{
	struct lucos_descriptor_header *header = &draft->bytes.header;

	strscpy(draft->bytes.dependency.name, name, LUCOS_NAME_SIZE);
	header->dependency_count = 1;
	header->dependency_offset = offsetof(struct draft, bytes.dependency);
	set_length(draft, sizeof(draft->bytes));
}

void hostile_expect_others(struct draft *draft)
{
	draft->bytes.functions[1].expected[0] ^= 1 + hostile_below(255);
}

u64 hostile_wild_address(void)
{
	switch (hostile_below(8)) {
	case 0:
		return hostile_below(4096);
	case 1:
		return hostile_random() >> 17;
	case 2:
		/* Not canonical. */
		return 0x8000000000000000ULL | hostile_random() >> 16;
	case 3:
		return hostile_places.end_of_buffer - hostile_below(80);
	case 4:
		return hostile_places.device + hostile_below(256);
	case 5:
		return hostile_places.hypervisor + hostile_below(2048);
	case 6:
		return -1ULL - hostile_below(256);
	default:
		/* A hole in the kernel's half. */
		return 0xffffff9000000000ULL + (hostile_random() >> 32);
	}
}

/*
 * The defects. Each changes a right draft; `A` and `B` are its functions, `H`
 * its header.
 */
#define H (draft->bytes.header)
#define A (draft->bytes.functions[0])
#define B (draft->bytes.functions[1])
#define V (draft->bytes.values[hostile_below(2)])

static struct lucos_function *either(struct draft *draft)
{
	return &draft->bytes.functions[hostile_below(2)];
}

/* Any number but a right one. */
static u32 other_than(u32 right)
{
	u32 number = hostile_random();

	return number == right ? right + 1 : number;
}

static u64 user_address(void)
{
	return hostile_random() >> 17;
}

/* In the kernel's half, in no text. */
static u64 data_address(void)
{
	return 0xffff888000000000ULL + (hostile_random() >> 32);
}

static u64 kernel_text(void)
{
	return (unsigned long)&_printk + hostile_below(4096);
}

#define DEFECT(name, change)						\
	static void name(struct draft *draft)				\
	{								\
		change;							\
	}

DEFECT(wrong_nonce, draft->nonce ^= 1ULL << hostile_below(64))
DEFECT(too_short, draft->length = hostile_below(sizeof(struct lucos_group)))
DEFECT(truncated, draft->length = sizeof(struct lucos_group) + hostile_below(120))
DEFECT(too_long, draft->length = LUCOS_MAX_GROUP_LENGTH + 1 + (hostile_random() >> (1 + hostile_below(47))))
DEFECT(wild, draft->address = hostile_wild_address())
DEFECT(magic, H.magic[hostile_below(8)] ^= 1 << hostile_below(8))
DEFECT(version, H.version = other_than(LUCOS_DESCRIPTOR_VERSION))
DEFECT(header_size, H.header_size = other_than(sizeof(H)))
DEFECT(total_length, H.total_length = other_than(draft->length))
DEFECT(half, draft->length -= 8 * (1 + hostile_below(30)))
DEFECT(header_flag, H.flags |= 8U << hostile_below(29))
DEFECT(name_empty, memset(H.name, 0, sizeof(H.name)))
DEFECT(name_full, memset(H.name, 'x', sizeof(H.name)))
DEFECT(name_character, H.name[hostile_below(7)] = 1 + hostile_below(32))
DEFECT(name_tail, H.name[8 + hostile_below(56)] = 'x')
DEFECT(build_id_length, H.build_id_length = 21 + hostile_below(1000))
DEFECT(build_id_tail, H.build_id[hostile_below(20)] = 1)
DEFECT(build_id, H.build_id_length = 1; H.build_id[0] = 1)
DEFECT(reserved, H.reserved[hostile_below(3)] = hostile_random() | 1)
DEFECT(functions_many, H.function_count = 65 + hostile_below(1000000))
DEFECT(functions_far, H.function_offset = 1024 + 8 * hostile_below(100000))
DEFECT(functions_odd, H.function_count = 1; H.function_offset += 1 + hostile_below(7))
DEFECT(functions_few, H.function_count = 1)
DEFECT(overlap, H.dependency_count = 1; H.dependency_offset = sizeof(H) + 8 * hostile_below(27))
DEFECT(nothing, H.function_count = 0; H.function_offset = 0; H.value_count = 0; H.value_offset = 0; set_length(draft, sizeof(H)))

DEFECT(values_many, H.value_count = 65 + hostile_below(1000000))
DEFECT(value_flag, V.flags |= 2U << hostile_below(31))
DEFECT(value_reserved, V.reserved = hostile_random() | 1)
DEFECT(value_name, memset(V.name, 0, LUCOS_NAME_SIZE))
DEFECT(value_empty, V.length = 0)
DEFECT(value_long, V.length = 17 + hostile_below(1000000))
DEFECT(value_tail, V.new[8 + hostile_below(8)] = 1)
DEFECT(value_unmasked, V.mask[hostile_below(8)] = 0)
DEFECT(value_of_user, V.address = user_address())
DEFECT(value_wraps, V.address = -1ULL - hostile_below(7))
DEFECT(value_twice, draft->bytes.values[1].address = draft->bytes.values[0].address + hostile_below(8))
DEFECT(value_in_kernel, V.address = kernel_text())
DEFECT(value_in_function, V.address = A.old_start + hostile_below(11))
DEFECT(value_other, V.old[hostile_below(8)] ^= 1 + hostile_below(255))
DEFECT(value_wild, V.address = hostile_places.end_of_buffer)
DEFECT(value_of_lucos, V.address = hostile_places.hypervisor)

DEFECT(function_flag, either(draft)->flags |= 8U << hostile_below(29))
DEFECT(flags, either(draft)->flags = LUCOS_FUNCTION_SITE_IS_SLOT)
DEFECT(reason, either(draft)->reason = 12 + hostile_below(1000000))
DEFECT(reason_alone, either(draft)->reason = 1 + hostile_below(11))
DEFECT(flag_alone, either(draft)->flags = LUCOS_FUNCTION_NO_JUMP)
DEFECT(function_reserved, either(draft)->reserved = hostile_random() | 1)
DEFECT(function_name, memset(either(draft)->name, 0, LUCOS_NAME_SIZE))
DEFECT(size_zero, either(draft)->old_size = 0)
DEFECT(old_of_user, either(draft)->old_start = user_address())
DEFECT(old_wraps, either(draft)->old_start = -1ULL - hostile_below(10))
DEFECT(site_outside, either(draft)->site_offset = 11 + hostile_below(1000000))
DEFECT(new_zero, either(draft)->new_size = 0)
DEFECT(new_of_user, either(draft)->new_entry = user_address())
DEFECT(new_wraps, either(draft)->new_entry = -1ULL - hostile_below(10))
DEFECT(same, B.old_start = A.old_start + hostile_below(11))
DEFECT(new_is_old, A.new_entry = B.old_start + hostile_below(11))
DEFECT(expects_much, either(draft)->expected_length = 12 + hostile_below(1000000))
DEFECT(expects_unmasked, either(draft)->expected_mask[0] = 0)
DEFECT(expects_behind, either(draft)->expected[4 + hostile_below(12)] = 1)

DEFECT(old_in_data, either(draft)->old_start = data_address())
DEFECT(new_in_data, either(draft)->new_entry = data_address())
DEFECT(new_in_kernel, either(draft)->new_entry = kernel_text())
DEFECT(giant, A.old_start = kernel_text() & ~0xfffULL; A.old_size = 0x100001 + hostile_below(0x1000))
DEFECT(other_bytes, either(draft)->expected[hostile_below(4)] ^= 1 + hostile_below(255))

static void stray(struct lucos_function *function, const u8 *code, u32 size)
{
	function->old_start = (unsigned long)code;
	function->old_size = size;
	function->expected_length = 0;
	memset(function->expected, 0, sizeof(function->expected));
	memset(function->expected_mask, 0, sizeof(function->expected_mask));
}

DEFECT(no_code, stray(either(draft), nonsense, 6))
DEFECT(no_boundary, A.expected_length = 0; stray(&A, plain, 11); A.site_offset = 2)
DEFECT(loops, stray(either(draft), loop, 5))
DEFECT(taken, stray(either(draft), breakpoint, 6))
DEFECT(cut_off, either(draft)->old_size = 7)
DEFECT(missing, hostile_with_dependency(draft, "never_applied"))
DEFECT(itself, hostile_with_dependency(draft, "hostile"))
DEFECT(nobody, hostile_with_dependency(draft, ""))

const struct defect hostile_defects[] = {
	{ LUCOS_ERROR_NONCE, wrong_nonce },
	{ LUCOS_ERROR_LENGTH, too_short },
	{ LUCOS_ERROR_DESCRIPTOR_TRUNCATED, truncated },
	{ LUCOS_ERROR_LENGTH, too_long },
	{ LUCOS_ERROR_ADDRESS, wild },
	{ LUCOS_ERROR_MAGIC, magic },
	{ LUCOS_ERROR_DESCRIPTOR_VERSION, version },
	{ LUCOS_ERROR_HEADER_SIZE, header_size },
	{ LUCOS_ERROR_TOTAL_LENGTH, total_length },
	{ LUCOS_ERROR_TOTAL_LENGTH, half },
	{ LUCOS_ERROR_UNKNOWN_FLAG, header_flag },
	{ LUCOS_ERROR_NAME_EMPTY, name_empty },
	{ LUCOS_ERROR_NAME_TERMINATOR, name_full },
	{ LUCOS_ERROR_NAME_CHARACTER, name_character },
	{ LUCOS_ERROR_NAME_TAIL, name_tail },
	{ LUCOS_ERROR_BUILD_ID_LENGTH, build_id_length },
	{ LUCOS_ERROR_BUILD_ID_LENGTH, build_id_tail },
	{ LUCOS_ERROR_BUILD_ID, build_id },
	{ LUCOS_ERROR_RESERVED, reserved },
	{ LUCOS_ERROR_SECTION_COUNT, functions_many },
	{ LUCOS_ERROR_SECTION_RANGE, functions_far },
	{ LUCOS_ERROR_SECTION_ALIGNMENT, functions_odd },
	{ LUCOS_ERROR_SECTION_GAP, functions_few },
	{ LUCOS_ERROR_SECTION_OVERLAP, overlap },
	{ LUCOS_ERROR_NOTHING_TO_DO, nothing },
	{ LUCOS_ERROR_SECTION_COUNT, values_many },
	{ LUCOS_ERROR_UNKNOWN_FLAG, value_flag },
	{ LUCOS_ERROR_RESERVED, value_reserved },
	{ LUCOS_ERROR_NAME_EMPTY, value_name },
	{ LUCOS_ERROR_VALUE_SIZE, value_empty },
	{ LUCOS_ERROR_VALUE_SIZE, value_long },
	{ LUCOS_ERROR_VALUE_SIZE, value_tail },
	{ LUCOS_ERROR_VALUE_MASK, value_unmasked },
	{ LUCOS_ERROR_VALUE_RANGE, value_of_user },
	{ LUCOS_ERROR_VALUE_RANGE, value_wraps },
	{ LUCOS_ERROR_VALUE_OVERLAP, value_twice },
	{ LUCOS_ERROR_VALUE_IN_TEXT, value_in_kernel },
	{ LUCOS_ERROR_VALUE_IN_TEXT, value_in_function },
	{ LUCOS_ERROR_VALUE_CHANGED, value_other },
	{ LUCOS_ERROR_ADDRESS, value_wild },
	{ LUCOS_ERROR_ADDRESS, value_of_lucos },
	{ LUCOS_ERROR_UNKNOWN_FLAG, function_flag },
	{ LUCOS_ERROR_FLAG_COMBINATION, flags },
	{ LUCOS_ERROR_REASON, reason },
	{ LUCOS_ERROR_REASON, reason_alone },
	{ LUCOS_ERROR_REASON, flag_alone },
	{ LUCOS_ERROR_RESERVED, function_reserved },
	{ LUCOS_ERROR_NAME_EMPTY, function_name },
	{ LUCOS_ERROR_FUNCTION_SIZE, size_zero },
	{ LUCOS_ERROR_FUNCTION_RANGE, old_of_user },
	{ LUCOS_ERROR_FUNCTION_RANGE, old_wraps },
	{ LUCOS_ERROR_SITE_OFFSET, site_outside },
	{ LUCOS_ERROR_NEW_SIZE, new_zero },
	{ LUCOS_ERROR_NEW_RANGE, new_of_user },
	{ LUCOS_ERROR_NEW_RANGE, new_wraps },
	{ LUCOS_ERROR_FUNCTION_OVERLAP, same },
	{ LUCOS_ERROR_NEW_IS_OLD, new_is_old },
	{ LUCOS_ERROR_EXPECTED_LENGTH, expects_much },
	{ LUCOS_ERROR_EXPECTED_MASK, expects_unmasked },
	{ LUCOS_ERROR_EXPECTED_MASK, expects_behind },
	{ LUCOS_ERROR_OLD_NOT_TEXT, old_in_data },
	{ LUCOS_ERROR_NEW_NOT_TEXT, new_in_data },
	{ LUCOS_ERROR_NEW_NOT_TEXT, new_in_kernel },
	{ LUCOS_ERROR_LENGTH, giant },
	{ LUCOS_ERROR_EXPECTED_BYTES, other_bytes },
	{ LUCOS_ERROR_DECODE, no_code },
	{ LUCOS_ERROR_DECODE, cut_off },
	{ LUCOS_ERROR_SITE_BOUNDARY, no_boundary },
	{ LUCOS_ERROR_BRANCH_TO_SITE, loops },
	{ LUCOS_ERROR_SITE_FOREIGN, taken },
	{ LUCOS_ERROR_DEPENDENCY_MISSING, missing },
	{ LUCOS_ERROR_DEPENDENCY, itself },
	{ LUCOS_ERROR_NAME_EMPTY, nobody },
};
const unsigned int hostile_defect_count = ARRAY_SIZE(hostile_defects);
