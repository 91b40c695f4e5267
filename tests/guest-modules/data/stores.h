/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every kind of store, from every kind of context, to two forms of the same data.
 *
 * Each kind has an entry of its own. In it each writer has a cell that nobody
 * else writes, and all of them share one that is only ever changed by locked
 * instructions.
 */
#ifndef STORES_H
#define STORES_H

#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/types.h>

#include <asm/fpu/api.h>

enum store_kind {
	STORE_BYTE, STORE_WORD, STORE_LONG, STORE_QUAD, STORE_PAST_CACHE,
	STORE_XCHG_BYTE, STORE_XCHG_QUAD, STORE_ADD, STORE_LOCK_ADD,
	STORE_LOCK_INC, STORE_XADD, STORE_CMPXCHG, STORE_CMPXCHG16B, STORE_BIT,
	STORE_SET, STORE_POP, STORE_MOVS_BYTES, STORE_MOVS_QUADS,
	STORE_STOS_BYTES, STORE_STOS_QUADS, STORE_SSE, STORE_SSE_ALIGNED,
	STORE_SSE_PAST_CACHE, STORE_KINDS
};

struct store_cell {
	u64 low, high;
} __aligned(16);

enum store_context {
	CONTEXT_THREAD, CONTEXT_SOFTIRQ, CONTEXT_INTERRUPT, CONTEXT_NMI,
	STORE_CONTEXTS
};

/* A context of one of two processors, in old or new code. */
#define STORE_WRITERS (2 * STORE_CONTEXTS * 2)

struct store_entry {
	struct store_cell shared;
	struct store_cell own[STORE_WRITERS];
};

extern struct store_entry stores_entries[STORE_KINDS];

/* A number that lies on two pages, of which all writers have one. */
struct store_pages {
	u8 before[PAGE_SIZE - 4];
	u8 number[8];
	u8 behind[PAGE_SIZE - 4];
} __packed;

extern struct store_pages stores_pages;

/* How often each writer has written. */
extern u64 stores_counts[PAGE_SIZE / sizeof(u64)];

/* To be replaced: */
void stores_write(unsigned int writer, u64 n);
unsigned int stores_wrong(void);
void stores_stay(void);

extern bool stores_hold;

/* What the cell of a writer is when it has written n times. */
static inline struct store_cell stores_expected(enum store_kind kind, u64 n)
{
	u64 bytes = (n & 0xff) * 0x0101010101010101ull;

	if (!n)
		return (struct store_cell) {};
	switch (kind) {
	case STORE_BYTE:
	case STORE_XCHG_BYTE:
		return (struct store_cell) { n & 0xff, 0 };
	case STORE_WORD:
		return (struct store_cell) { n & 0xffff, 0 };
	case STORE_BIT:
	case STORE_SET:
		return (struct store_cell) { n & 1, 0 };
	case STORE_STOS_BYTES:
		return (struct store_cell) { bytes, bytes };
	case STORE_STOS_QUADS:
		return (struct store_cell) { n, n };
	case STORE_CMPXCHG16B:
	case STORE_MOVS_BYTES:
	case STORE_MOVS_QUADS:
	case STORE_SSE:
	case STORE_SSE_ALIGNED:
	case STORE_SSE_PAST_CACHE:
		return (struct store_cell) { n, ~n };
	default:
		return (struct store_cell) { n, 0 };
	}
}

/* Whether the kind changes the cell that all writers share. */
static inline bool stores_shares(enum store_kind kind)
{
	switch (kind) {
	case STORE_LOCK_ADD:
	case STORE_LOCK_INC:
	case STORE_XADD:
	case STORE_CMPXCHG:
	case STORE_CMPXCHG16B:
		return true;
	default:
		return false;
	}
}

/* Makes `old` `new`, or gives what was there instead. */
static __always_inline bool stores_cmpxchg16b(struct store_cell *cell,
					      struct store_cell *old,
					      struct store_cell new)
{
	bool done;

	asm volatile("lock cmpxchg16b %[cell]"
		     : [cell] "+m"(*cell), "+a"(old->low), "+d"(old->high),
		       "=@ccz"(done)
		     : "b"(new.low), "c"(new.high)
		     : "memory");
	return done;
}

static inline void stores_add_shared(enum store_kind kind,
				     struct store_cell *cell)
{
	struct store_cell old = *(volatile struct store_cell *)cell, new;
	u64 one = 1, was;
	bool done;

	switch (kind) {
	case STORE_LOCK_ADD:
		asm volatile("lock addq $1, %0" : "+m"(cell->low));
		break;
	case STORE_LOCK_INC:
		asm volatile("lock incq %0" : "+m"(cell->low));
		break;
	case STORE_XADD:
		asm volatile("lock xaddq %1, %0" : "+m"(cell->low), "+r"(one));
		break;
	case STORE_CMPXCHG:
		was = old.low;
		do {
			asm volatile("lock cmpxchgq %[new], %[cell]"
				     : [cell] "+m"(cell->low), "+a"(was),
				       "=@ccz"(done)
				     : [new] "r"(was + 1)
				     : "memory");
		} while (!done);
		break;
	case STORE_CMPXCHG16B:
		do {
			new.low = old.low + 1;
			new.high = old.high + 2;
		} while (!stores_cmpxchg16b(cell, &old, new));
		break;
	default:
		break;
	}
}

/* 16 bytes by a register of 128 bits, where the context may use one. */
static inline void stores_wide(enum store_kind kind, struct store_cell *cell,
			       const struct store_cell *from)
{
	/* It warns when it is asked in an NMI. */
	if (in_nmi() || !irq_fpu_usable()) {
		*(volatile u64 *)&cell->low = from->low;
		*(volatile u64 *)&cell->high = from->high;
		return;
	}
	kernel_fpu_begin();
	asm volatile("movups %0, %%xmm0" : : "m"(*from));
	if (kind == STORE_SSE)
		asm volatile("movups %%xmm0, %0" : "=m"(*cell));
	else if (kind == STORE_SSE_ALIGNED)
		asm volatile("movaps %%xmm0, %0" : "=m"(*cell));
	else
		asm volatile("movntdq %%xmm0, %0" : "=m"(*cell));
	kernel_fpu_end();
}

/* Writes a cell for the nth time. */
static inline void stores_write_own(enum store_kind kind,
				    struct store_cell *cell, u64 n)
{
	struct store_cell pair = { n, ~n };
	void *to = cell, *from = &pair;
	u64 value = n, count;

	switch (kind) {
	case STORE_BYTE:
		asm volatile("movb %b1, %0" : "+m"(cell->low) : "q"(n));
		break;
	case STORE_WORD:
		asm volatile("movw %w1, %0" : "+m"(cell->low) : "r"(n));
		break;
	case STORE_LONG:
		asm volatile("movl %k1, %0" : "+m"(cell->low) : "r"(n));
		break;
	case STORE_QUAD:
		asm volatile("movq %1, %0" : "+m"(cell->low) : "r"(n));
		break;
	case STORE_PAST_CACHE:
		asm volatile("movnti %1, %0" : "+m"(cell->low) : "r"(n));
		break;
	case STORE_XCHG_BYTE:
		asm volatile("xchgb %b1, %0" : "+m"(cell->low), "+q"(value));
		break;
	case STORE_XCHG_QUAD:
		asm volatile("xchgq %1, %0" : "+m"(cell->low), "+r"(value));
		break;
	case STORE_ADD:
		asm volatile("addq $1, %0" : "+m"(cell->low));
		break;
	case STORE_LOCK_ADD:
	case STORE_LOCK_INC:
	case STORE_XADD:
	case STORE_CMPXCHG:
		stores_add_shared(kind, cell);
		break;
	case STORE_CMPXCHG16B:
		pair = *(volatile struct store_cell *)cell;
		stores_cmpxchg16b(cell, &pair, (struct store_cell) { n, ~n });
		break;
	case STORE_BIT:
		asm volatile("lock btcq $0, %0" : "+m"(cell->low));
		break;
	case STORE_SET:
		asm volatile("testb $1, %b1; setnz %0"
			     : "+m"(*(u8 *)&cell->low) : "q"(n));
		break;
	case STORE_POP:
		asm volatile("pushq %1; popq %0" : "+m"(cell->low) : "r"(n));
		break;
	case STORE_MOVS_BYTES:
		count = sizeof(pair);
		asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)
			     : : "memory");
		break;
	case STORE_MOVS_QUADS:
		count = sizeof(pair) / sizeof(u64);
		asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count)
			     : : "memory");
		break;
	case STORE_STOS_BYTES:
		count = sizeof(pair);
		asm volatile("rep stosb" : "+D"(to), "+c"(count)
			     : "a"(n) : "memory");
		break;
	case STORE_STOS_QUADS:
		count = sizeof(pair) / sizeof(u64);
		asm volatile("rep stosq" : "+D"(to), "+c"(count)
			     : "a"(n) : "memory");
		break;
	default:
		stores_wide(kind, cell, &pair);
	}
}

/* All writers add to one number that lies on two pages. */
static inline void stores_add_across(u8 *number)
{
	asm volatile("lock addq $1, %0" : "+m"(*(u64 *)number));
}

static inline bool stores_is(const struct store_cell *cell,
			     struct store_cell expected)
{
	return cell->low == expected.low && cell->high == expected.high;
}

/* What the shared cell of a kind is when all writers have written. */
static inline struct store_cell stores_sum(enum store_kind kind)
{
	u64 sum = 0;
	unsigned int i;

	for (i = 0; stores_shares(kind) && i < STORE_WRITERS; i++)
		sum += stores_counts[i];
	return (struct store_cell) {
		sum, kind == STORE_CMPXCHG16B ? 2 * sum : 0
	};
}

#endif
