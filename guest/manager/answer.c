// SPDX-License-Identifier: GPL-2.0
/* The answer to a command: records, one behind the other. */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "answer.h"

#define FIRST_CAPACITY 1024

void lucos_answer_free(struct lucos_answer *answer)
{
	kvfree(answer->bytes);
	memset(answer, 0, sizeof(*answer));
}

/* Room for so many more bytes, which are zero; or NULL. */
static void *more(struct lucos_answer *answer, size_t size)
{
	size_t needed = answer->length + size;
	size_t capacity = max_t(size_t, answer->capacity, FIRST_CAPACITY);
	u8 *bytes;

	if (needed > answer->capacity) {
		while (capacity < needed)
			capacity *= 2;
		bytes = kvmalloc(capacity, GFP_KERNEL);
		if (!bytes) {
			answer->failed = true;
			return NULL;
		}
		if (answer->length)
			memcpy(bytes, answer->bytes, answer->length);
		kvfree(answer->bytes);
		answer->bytes = bytes;
		answer->capacity = capacity;
	}
	bytes = answer->bytes + answer->length;
	memset(bytes, 0, size);
	answer->length = needed;
	return bytes;
}

void lucos_answer_start(struct lucos_answer *answer)
{
	answer->length = 0;
	answer->records = 0;
	answer->failed = false;
	more(answer, sizeof(struct lucos_reply));
}

/* Starts a record of so many bytes; gives their place, or NULL. */
static void *add_record(struct lucos_answer *answer,
			enum lucos_record_kind kind, size_t size)
{
	struct lucos_record *record;

	record = more(answer, sizeof(*record) + size);
	if (!record)
		return NULL;
	record->kind = kind;
	record->size = size;
	answer->records++;
	return record + 1;
}

void lucos_answer_add(struct lucos_answer *answer, enum lucos_record_kind kind,
		      const void *record, size_t size)
{
	void *place = add_record(answer, kind, size);

	if (place)
		memcpy(place, record, size);
}

void lucos_answer_add_log(struct lucos_answer *answer, u64 offset,
			  const char *text, size_t length)
{
	struct lucos_log_piece *piece;

	piece = add_record(answer, LUCOS_RECORD_LOG,
			   sizeof(*piece) + ALIGN(length, sizeof(u64)));
	if (!piece)
		return;
	piece->offset = offset;
	piece->length = length;
	memcpy(piece + 1, text, length);
}

void lucos_answer_finish(struct lucos_answer *answer)
{
	struct lucos_reply *header = (struct lucos_reply *)answer->bytes;

	if (answer->failed) {
		answer->length = 0;
		return;
	}
	header->version = LUCOS_REPLY_VERSION;
	header->records = answer->records;
	header->length = answer->length;
}
