// SPDX-License-Identifier: MIT OR Apache-2.0
// The network.

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/gen_stats.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixes.h"

// An ordinary user's filter on a TCP socket.
int tcp_filter(void)
{
	struct sock_filter code[] = { { BPF_RET | BPF_K, 0, 0, 0xffff } };
	struct sock_fprog program = { 1, code };

	if (setgid(1000) || setuid(1000))
		return fail("setuid");

	int file = socket(AF_INET, SOCK_STREAM, 0);

	if (file < 0)
		return fail("socket");
	return print_error(
		setsockopt(file, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) ? errno : 0);
}

// A socket that wants two gigabytes set apart.
int reserved_memory(void)
{
	const int bytes = 0x7fffffff;
	int file = socket(AF_INET, SOCK_STREAM, 0);

	if (file < 0)
		return fail("socket");
	return print_error(
		setsockopt(file, SOL_SOCKET, SO_RESERVE_MEM, &bytes, sizeof(bytes)) ? errno : 0);
}

// The queueing discipline of the loopback device.
static struct tcmsg loopback_root(void)
{
	struct tcmsg root = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = (int)if_nametoindex("lo"),
		.tcm_handle = 0x10000,
		.tcm_parent = TC_H_ROOT,
	};
	return root;
}

static int change_root(uint16_t type, uint16_t flags, uint32_t overhead)
{
	struct request r = { 0 };
	const struct tcmsg root = loopback_root();
	const struct tc_sizespec size = { .overhead = (int)overhead };

	message(&r, type, NLM_F_ACK | flags, &root, sizeof(root));
	if (type == RTM_NEWQDISC) {
		attribute_text(&r, TCA_KIND, "pfifo");
		size_t table = nest(&r, TCA_STAB);
		attribute(&r, TCA_STAB_BASE, &size, sizeof(size));
		nest_end(&r, table);
	}
	return transact(NETLINK_ROUTE, &r);
}

// The bytes that the discipline has counted, in one answer's attributes.
static long long bytes_in(struct rtattr *attribute, long length)
{
	for (; RTA_OK(attribute, length); attribute = RTA_NEXT(attribute, length)) {
		const struct tc_stats *stats = RTA_DATA(attribute);

		if (attribute->rta_type == TCA_STATS && RTA_PAYLOAD(attribute) >= sizeof(*stats))
			return (long long)stats->bytes;
	}
	return -1;
}

static long long bytes_sent(void)
{
	_Alignas(4) uint8_t answer[8192];
	struct request r = { 0 };
	const struct tcmsg root = loopback_root();
	long long bytes = -1;
	int file = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	if (file < 0)
		return -1;
	message(&r, RTM_GETQDISC, NLM_F_DUMP, &root, sizeof(root));
	send(file, r.bytes, r.length, 0);
	for (int over = 0; !over;) {
		ssize_t length = recv(file, answer, sizeof(answer), 0);

		over = length <= 0;
		for (struct nlmsghdr *head = (void *)answer; NLMSG_OK(head, length);
		     head = NLMSG_NEXT(head, length)) {
			const struct tcmsg *found = NLMSG_DATA(head);

			if (head->nlmsg_type == NLMSG_DONE || head->nlmsg_type == NLMSG_ERROR) {
				over = 1;
			} else if (found->tcm_ifindex == root.tcm_ifindex &&
				   found->tcm_handle == root.tcm_handle) {
				bytes = bytes_in(TCA_RTA(found), (long)TCA_PAYLOAD(head));
			}
		}
	}
	close(file);
	return bytes;
}

static int send_packet(void)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(9),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int file = socket(AF_INET, SOCK_DGRAM, 0);

	if (file < 0)
		return -1;

	ssize_t sent = sendto(file, "x", 1, 0, (const void *)&to, sizeof(to));

	close(file);
	return sent == 1 ? 0 : -1;
}

// What length a discipline sees of a packet of 43 bytes that a size table makes longer by 60 MB.
int packet_length(void)
{
	int number = change_root(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, 60000000);

	if (number) {
		errno = number;
		return fail("cannot add the discipline");
	}

	int sent = send_packet();
	long long bytes = bytes_sent();

	change_root(RTM_DELQDISC, 0, 0);
	if (sent || bytes <= 0)
		return fail("no packet was counted");
	puts(bytes >= 60000000 ? "unbounded" : "bounded");
	return 0;
}

static void filter_message(struct request *r, int type, uint16_t flags)
{
	const struct nfgenmsg head = { .nfgen_family = AF_INET, .version = NFNETLINK_V0 };

	message(r, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, &head, sizeof(head));
}

static void batch_message(struct request *r, uint16_t type)
{
	const struct nfgenmsg head = { .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES) };

	message(r, type, 0, &head, sizeof(head));
}

#define TABLE "lucos_fixes"

// Adds an expression whose attributes `fill` gives.
static void expression(struct request *r, const char *name, void (*fill)(struct request *, uint32_t),
		       uint32_t value)
{
	size_t element = nest(r, NFTA_LIST_ELEM);

	attribute_text(r, NFTA_EXPR_NAME, name);
	size_t data = nest(r, NFTA_EXPR_DATA);
	fill(r, value);
	nest_end(r, data);
	nest_end(r, element);
}

// Loads the packet's mark into a register.
static void mark(struct request *r, uint32_t target)
{
	attribute_be32(r, NFTA_META_DREG, target);
	attribute_be32(r, NFTA_META_KEY, NFT_META_MARK);
}

static void registers(struct request *r, uint32_t source, uint32_t target, uint32_t length)
{
	attribute_be32(r, NFTA_BITWISE_SREG, source);
	attribute_be32(r, NFTA_BITWISE_DREG, target);
	attribute_be32(r, NFTA_BITWISE_LEN, length);
}

static void value(struct request *r, uint16_t type, const void *bytes, size_t size)
{
	size_t start = nest(r, type);

	attribute(r, NFTA_DATA_VALUE, bytes, size);
	nest_end(r, start);
}

// Shifts a register to the left.
static void shift(struct request *r, uint32_t bits)
{
	registers(r, NFT_REG32_00, NFT_REG32_01, sizeof(uint32_t));
	attribute_be32(r, NFTA_BITWISE_OP, NFT_BITWISE_LSHIFT);
	value(r, NFTA_BITWISE_DATA, &bits, sizeof(bits));
}

// Copies the first two registers, masked, to two that begin with `target`.
static void mask(struct request *r, uint32_t target)
{
	const uint32_t ones[2] = { UINT32_MAX, UINT32_MAX }, zeros[2] = { 0, 0 };

	registers(r, NFT_REG32_00, target, sizeof(ones));
	value(r, NFTA_BITWISE_MASK, ones, sizeof(ones));
	value(r, NFTA_BITWISE_XOR, zeros, sizeof(zeros));
}

// Adds a table with a rule that loads two registers and ends with a bitwise expression, and removes
// the table. A batch that fails leaves nothing behind.
static int try_bitwise(void (*fill)(struct request *, uint32_t), uint32_t argument)
{
	struct request add = { 0 }, remove = { 0 };

	batch_message(&add, NFNL_MSG_BATCH_BEGIN);
	filter_message(&add, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	attribute_text(&add, NFTA_TABLE_NAME, TABLE);
	filter_message(&add, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	attribute_text(&add, NFTA_CHAIN_TABLE, TABLE);
	attribute_text(&add, NFTA_CHAIN_NAME, "c");
	filter_message(&add, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK);
	attribute_text(&add, NFTA_RULE_TABLE, TABLE);
	attribute_text(&add, NFTA_RULE_CHAIN, "c");
	size_t list = nest(&add, NFTA_RULE_EXPRESSIONS);
	expression(&add, "meta", mark, NFT_REG32_00);
	expression(&add, "meta", mark, NFT_REG32_01);
	expression(&add, "bitwise", fill, argument);
	nest_end(&add, list);
	batch_message(&add, NFNL_MSG_BATCH_END);

	int number = transact(NETLINK_NETFILTER, &add);

	if (number < 0)
		return fail("nf_tables does not answer");
	if (number == 0) {
		batch_message(&remove, NFNL_MSG_BATCH_BEGIN);
		filter_message(&remove, NFT_MSG_DELTABLE, NLM_F_ACK);
		attribute_text(&remove, NFTA_TABLE_NAME, TABLE);
		batch_message(&remove, NFNL_MSG_BATCH_END);
		if (transact(NETLINK_NETFILTER, &remove))
			return fail("cannot remove the table");
	}
	return print_error(number);
}

// A rule that shifts by zero.
int bitwise_shift(void)
{
	return try_bitwise(shift, 0);
}

// A rule whose result overlaps its source without being the same registers.
int bitwise_overlap(void)
{
	return try_bitwise(mask, NFT_REG32_01);
}
