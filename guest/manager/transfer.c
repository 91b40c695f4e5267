// SPDX-License-Identifier: GPL-2.0
/*
 * The upcalls: LUCOS lets a processor of the guest run code of the manager, with
 * registers of its own, while the guest stands still or in the middle of one of
 * its writes.
 *
 * An upcall is confined. It can write its stack, its scratch page and the stage
 * that it was given; the first write anywhere else ends it, and so does an
 * exception. So nothing here is traced or probed, takes a lock, uses the FPU, or
 * calls anything of the kernel. Whatever a transfer function does, it can spoil
 * nothing; LUCOS ends an upcall that takes too long.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include <lucos/version.h>

#include "hypercall.h"
#include "transfer.h"
#include "versions.h"
#include "witness.h"

/* The stack of a processor, its scratch page, and four for copies of pages. */
static u8 *pages;
static unsigned int processors;

/* How an upcall ends. */
struct ending {
	u64 result;
	u64 detail;
};

typedef int (*transfer_function)(void *target, const void *source);

static const struct ending success = {};

/*
 * The kernel's own memcpy may be probed. By words: where LUCOS counts
 * instructions, each repetition of one counts.
 */
static __always_inline void copy(void *to, const void *from, size_t size)
{
	size_t words = size / sizeof(u64), bytes = size % sizeof(u64);

	asm volatile("rep movsq"
		     : "+D"(to), "+S"(from), "+c"(words)
		     :
		     : "memory");
	asm volatile("rep movsb"
		     : "+D"(to), "+S"(from), "+c"(bytes)
		     :
		     : "memory");
}

static __always_inline bool words_are_equal(const u8 *one, const u8 *other)
{
	return READ_ONCE(*(const u64 *)one) == READ_ONCE(*(const u64 *)other);
}

/* Where two pieces of memory begin to differ, or their size. */
static __always_inline u32 first_difference(const u8 *one, const u8 *other,
					    u32 size)
{
	u32 at = 0;

	while (at + sizeof(u64) <= size &&
	       words_are_equal(one + at, other + at))
		at += sizeof(u64);
	while (at < size && READ_ONCE(one[at]) == READ_ONCE(other[at]))
		at++;
	return at;
}

/* What a transfer function gave, which is to be 0 or an errno. */
static __always_inline struct ending refused(int result, u64 detail)
{
	if (result < 0)
		result = -result;
	if (result > MAX_ERRNO || result < 0)
		result = EINVAL;
	return (struct ending) { .result = result, .detail = detail };
}

static __always_inline struct ending law_broken(u32 offset)
{
	return (struct ending) {
		.result = LUCOS_DONE_LAW_BROKEN,
		.detail = offset,
	};
}

/* One pair of a version, seen from the side that is made. */
struct move {
	void *target;
	const void *source;
	u32 target_size;
	u32 source_size;
	transfer_function make;		/* the target of the source */
	transfer_function make_back;	/* the source of the target */
	bool lossy;
};

/*
 * Whether what was made leads back to its source, and making it once more
 * changes nothing. `made` is what the target becomes.
 */
static LUCOS_NOINSTR struct ending check_laws(const struct move *move,
					      const u8 *made, u8 *scratch)
{
	int error;
	u32 at;

	copy(scratch, move->source, move->source_size);
	error = move->make_back(scratch, made);
	if (error)
		return refused(error, 0);
	at = first_difference(scratch, move->source, move->source_size);
	if (at < move->source_size)
		return law_broken(at);
	copy(scratch, made, move->target_size);
	error = move->make(scratch, move->source);
	if (error)
		return refused(error, 0);
	at = first_difference(scratch, made, move->target_size);
	return at < move->target_size ? law_broken(at) : success;
}

/* Fills a place of the stage: what the target was, and what it becomes. */
static LUCOS_NOINSTR struct ending move_one(const struct move *move, u8 *place,
					    u32 step, u8 *scratch)
{
	u8 *made = place + step / 2;
	int error;

	copy(place, move->target, move->target_size);
	copy(made, move->target, move->target_size);
	error = move->make(made, move->source);
	if (error)
		return refused(error, 0);
	return move->lossy ? success : check_laws(move, made, scratch);
}

static LUCOS_NOINSTR struct move move_of(const struct lucos_version *version,
				   const struct lucos_pair_addresses *pair,
				   bool to_objects)
{
	struct move move = {
		.target = (void *)pair->twin,
		.source = (void *)pair->object,
		.target_size = version->twin_size,
		.source_size = version->object_size,
		.make = version->to_new,
		.make_back = version->to_old,
		.lossy = *version->lossy,
	};

	if (!to_objects)
		return move;
	move.target = (void *)pair->object;
	move.source = (void *)pair->twin;
	move.target_size = version->object_size;
	move.source_size = version->twin_size;
	move.make = version->to_old;
	move.make_back = version->to_new;
	return move;
}

static LUCOS_NOINSTR struct ending transfer_all(bool to_objects, u8 *stage,
						u8 *scratch)
{
	const struct lucos_lists *lists = lucos_versions_lent(stage);
	struct ending ending = success;
	unsigned int i;

	if (!lists)
		return refused(ENOENT, 0);
	for (i = 0; !ending.result && i < lists->count; i++) {
		struct move move = move_of(lists->version, &lists->by_object[i],
					   to_objects);

		ending = move_one(&move, stage + (size_t)i * lists->stage_step,
				  lists->stage_step, scratch);
	}
	return ending;
}

static LUCOS_NOINSTR struct ending transfer_one(transfer_function make,
						void *target,
						const void *source)
{
	int error = make(target, source);

	return error ? refused(error, 0) : success;
}

static LUCOS_NOINSTR struct ending
witness(const struct lucos_stopped_processors *stopped)
{
	unsigned long where = lucos_witness(stopped);

	return where ? refused(EBUSY, where) : success;
}

static LUCOS_NOINSTR struct ending upcall(u64 what, u64 first, u64 second,
					  u64 third, u8 *scratch)
{
	switch (what) {
	case LUCOS_UPCALL_TRANSFER_ONE:
		return transfer_one((transfer_function)first, (void *)second,
				    (const void *)third);
	case LUCOS_UPCALL_TRANSFER_ALL:
		return transfer_all(second, (u8 *)third, scratch);
	case LUCOS_UPCALL_WITNESS:
		return witness((const void *)third);
	}
	return refused(ENOSYS, what);
}

/*
 * Where upcalls begin: RSP is the end of the stack's page, where the scratch
 * page begins. Nobody called, so it cannot return.
 */
static LUCOS_NOINSTR void __noreturn by_vmmcall(u64 what, u64 first, u64 second,
						u64 third)
{
	unsigned long frame = (unsigned long)__builtin_frame_address(0);
	u8 *scratch = (u8 *)PAGE_ALIGN(frame);
	struct ending ending = upcall(what, first, second, third, scratch);

	asm volatile("vmmcall; ud2"
		     :
		     : "a"(LUCOS_CALL_BASE | LUCOS_CALL_DONE),
		       "b"(ending.result), "c"(ending.detail)
		     : "memory");
	__builtin_unreachable();
}

static LUCOS_NOINSTR void __noreturn by_vmcall(u64 what, u64 first, u64 second,
					       u64 third)
{
	unsigned long frame = (unsigned long)__builtin_frame_address(0);
	u8 *scratch = (u8 *)PAGE_ALIGN(frame);
	struct ending ending = upcall(what, first, second, third, scratch);

	asm volatile("vmcall; ud2"
		     :
		     : "a"(LUCOS_CALL_BASE | LUCOS_CALL_DONE),
		       "b"(ending.result), "c"(ending.detail)
		     : "memory");
	__builtin_unreachable();
}

int lucos_upcalls_start(unsigned int count)
{
	size_t size = (size_t)count * LUCOS_UPCALL_PAGES * PAGE_SIZE;

	pages = vzalloc(size);
	if (!pages)
		return -ENOMEM;
	processors = count;
	return 0;
}

void lucos_upcalls_stop(void)
{
	vfree(pages);
	pages = NULL;
	processors = 0;
}

void lucos_upcalls_register(struct lucos_registration *record)
{
	if (!pages)
		return;
	record->upcall_entry = lucos_calls_by_vmmcall() ?
				       (unsigned long)by_vmmcall :
				       (unsigned long)by_vmcall;
	record->upcall_pages = (unsigned long)pages;
	record->processors = processors;
}
