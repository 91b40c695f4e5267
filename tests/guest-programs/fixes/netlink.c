// SPDX-License-Identifier: MIT OR Apache-2.0
// Netlink requests.

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "fixes.h"

// Where the last message begins.
static size_t last;

static void append(struct request *r, const void *data, size_t size)
{
	const size_t room = sizeof(r->bytes) - r->length;

	// The requests are ours: one that is too long is a mistake in this program.
	if (NLMSG_ALIGN(size) > room)
		abort();
	memset(r->bytes + r->length, 0, NLMSG_ALIGN(size));
	if (size)
		memcpy(r->bytes + r->length, data, size);
	r->length += NLMSG_ALIGN(size);
	struct nlmsghdr *head = (void *)(r->bytes + last);
	head->nlmsg_len = (uint32_t)(r->length - last);
}

void message(struct request *r, uint16_t type, uint16_t flags, const void *header, size_t size)
{
	const struct nlmsghdr head = {
		.nlmsg_len = sizeof(head),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | flags,
	};

	last = r->length;
	append(r, &head, sizeof(head));
	append(r, header, size);
}

size_t nest(struct request *r, uint16_t type)
{
	const struct nlattr head = { .nla_len = sizeof(head), .nla_type = NLA_F_NESTED | type };
	const size_t start = r->length;

	append(r, &head, sizeof(head));
	return start;
}

void nest_end(struct request *r, size_t start)
{
	struct nlattr *head = (void *)(r->bytes + start);

	head->nla_len = (uint16_t)(r->length - start);
}

void attribute(struct request *r, uint16_t type, const void *data, size_t size)
{
	const struct nlattr head = { .nla_len = (uint16_t)(sizeof(head) + size), .nla_type = type };

	append(r, &head, sizeof(head));
	append(r, data, size);
}

void attribute_text(struct request *r, uint16_t type, const char *text)
{
	attribute(r, type, text, strlen(text) + 1);
}

void attribute_be32(struct request *r, uint16_t type, uint32_t value)
{
	const uint32_t swapped = htonl(value);

	attribute(r, type, &swapped, sizeof(swapped));
}

int transact(int protocol, struct request *r)
{
	_Alignas(4) uint8_t answer[8192];
	const struct timeval limit = { .tv_sec = 20 };
	int result = -1;
	int file = socket(AF_NETLINK, SOCK_RAW, protocol);

	if (file < 0)
		return -1;
	if (setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    send(file, r->bytes, r->length, 0) < 0)
		goto out;
	while (result < 0) {
		ssize_t length = recv(file, answer, sizeof(answer), 0);

		if (length <= 0)
			break;
		for (struct nlmsghdr *head = (void *)answer; NLMSG_OK(head, length);
		     head = NLMSG_NEXT(head, length)) {
			const struct nlmsgerr *error = NLMSG_DATA(head);

			if (head->nlmsg_type == NLMSG_ERROR && result < 0)
				result = -error->error;
		}
	}
out:
	close(file);
	return result;
}
