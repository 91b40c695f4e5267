/* SPDX-License-Identifier: GPL-2.0 */
/* The answer to a command: records, one behind the other. */
#ifndef LUCOS_MANAGER_ANSWER_H
#define LUCOS_MANAGER_ANSWER_H

#include <linux/types.h>

#include <lucos/interface.h>

struct lucos_answer {
	u8 *bytes;	/* the header first */
	size_t length;
	size_t capacity;
	u32 records;
	bool failed;	/* no memory: the answer is not complete */
};

void lucos_answer_free(struct lucos_answer *answer);

/* Starts a new answer, without a record. */
void lucos_answer_start(struct lucos_answer *answer);

/* Appends a record, whose size is a multiple of eight. */
void lucos_answer_add(struct lucos_answer *answer, enum lucos_record_kind kind,
		      const void *record, size_t size);

/* Appends a piece of the log. */
void lucos_answer_add_log(struct lucos_answer *answer, u64 offset,
			  const char *text, size_t length);

/* Fills in the header: the answer is complete. */
void lucos_answer_finish(struct lucos_answer *answer);

#endif
