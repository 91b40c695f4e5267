/* SPDX-License-Identifier: GPL-2.0 */
/* A text that grows, with what JSON needs. */
#ifndef LUCOS_MANAGER_REPLY_H
#define LUCOS_MANAGER_REPLY_H

#include <linux/compiler.h>
#include <linux/types.h>

struct lucos_failure;

struct lucos_reply {
	char *text;
	size_t length;
	size_t capacity;
	bool failed;	/* no memory: the text is not complete */
};

void lucos_reply_free(struct lucos_reply *reply);

/* Forgets what is there. */
void lucos_reply_reset(struct lucos_reply *reply);

__printf(2, 3)
void lucos_reply(struct lucos_reply *reply, const char *format, ...);

/* A JSON string; at most `length` bytes, ends at a zero byte. */
void lucos_reply_string(struct lucos_reply *reply, const char *text,
			size_t length);

/* Replaces the text by {"error": {...}}. */
void lucos_reply_failure(struct lucos_reply *reply,
			 const struct lucos_failure *failure);

#endif
