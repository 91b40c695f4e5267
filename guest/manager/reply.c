// SPDX-License-Identifier: GPL-2.0
/* A text that grows, with what JSON needs. */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "failure.h"
#include "hypercall.h"
#include "reply.h"

void lucos_reply_free(struct lucos_reply *reply)
{
	kvfree(reply->text);
	memset(reply, 0, sizeof(*reply));
}

void lucos_reply_reset(struct lucos_reply *reply)
{
	reply->length = 0;
	reply->failed = false;
}

static bool make_room(struct lucos_reply *reply, size_t more)
{
	size_t needed = reply->length + more + 1;
	size_t capacity = max_t(size_t, reply->capacity, 1024);
	char *text;

	if (needed <= reply->capacity)
		return true;
	while (capacity < needed)
		capacity *= 2;
	text = kvmalloc(capacity, GFP_KERNEL);
	if (!text) {
		reply->failed = true;
		return false;
	}
	if (reply->length)
		memcpy(text, reply->text, reply->length);
	kvfree(reply->text);
	reply->text = text;
	reply->capacity = capacity;
	return true;
}

void lucos_reply(struct lucos_reply *reply, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (length < 0 || !make_room(reply, length))
		return;
	va_start(arguments, format);
	vsnprintf(reply->text + reply->length, length + 1, format, arguments);
	va_end(arguments);
	reply->length += length;
}

static void add_character(struct lucos_reply *reply, unsigned char character)
{
	if (character == '"' || character == '\\')
		lucos_reply(reply, "\\%c", character);
	else if (isascii(character) && isprint(character))
		lucos_reply(reply, "%c", character);
	else
		lucos_reply(reply, "\\u%04x", character);
}

void lucos_reply_string(struct lucos_reply *reply, const char *text,
			size_t length)
{
	size_t i;

	lucos_reply(reply, "\"");
	for (i = 0; i < length && text[i]; i++)
		add_character(reply, text[i]);
	lucos_reply(reply, "\"");
}

void lucos_reply_failure(struct lucos_reply *reply,
			 const struct lucos_failure *failure)
{
	const char *meaning = lucos_error_meaning(failure->code);

	lucos_reply_reset(reply);
	lucos_reply(reply, "{\"error\": {\"code\": \"%s\", \"number\": %u, \"message\": ",
		    lucos_error_name(failure->code), failure->code);
	lucos_reply_string(reply, meaning, strlen(meaning));
	if (failure->subject[0]) {
		lucos_reply(reply, ", \"subject\": ");
		lucos_reply_string(reply, failure->subject,
				   sizeof(failure->subject));
	}
	if (failure->detail)
		lucos_reply(reply, ", \"detail\": \"0x%llx\"", failure->detail);
	lucos_reply(reply, "}}\n");
}
