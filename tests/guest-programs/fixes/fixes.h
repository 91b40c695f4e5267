// SPDX-License-Identifier: MIT OR Apache-2.0
// What the reproducers of fixes share.

#ifndef FIXES_H
#define FIXES_H

#include <stdint.h>
#include <sys/types.h>

// Each prints what the kernel does, in one line, and returns the exit status: 0 when it could tell.
int absolute_update(void);
int auxiliary_vector(void);
int bitwise_overlap(void);
int bitwise_shift(void);
int copy_behind_limit(void);
int deadline_task(void);
int deboosted_task(void);
int getfd_of_zombie(void);
int hint_of_immutable(void);
int loop_block_size(void);
int mremap_locked(void);
int namespace_of_zombie(void);
int new_syscall(void);
int packet_length(void);
int push_tasks(void);
int reserved_memory(void);
int sleepers(void);
int switches_counted(void);
int tcp_filter(void);
int timeout_fields(void);

// Prints the name of an error number, or "accepted" for 0.
int print_error(int number);

// Prints what failed and why, on standard error. Returns 1.
int fail(const char *what);

// A netlink request under construction.
struct request {
	size_t length;
	_Alignas(4) uint8_t bytes[4096];
};

// Starts another message in a request: `header` bytes follow netlink's own.
void message(struct request *r, uint16_t type, uint16_t flags, const void *header, size_t size);
// Adds an attribute to the last message.
void attribute(struct request *r, uint16_t type, const void *data, size_t size);
void attribute_text(struct request *r, uint16_t type, const char *text);
void attribute_be32(struct request *r, uint16_t type, uint32_t value);
// Opens a nested attribute; `nest_end` takes what it returned.
size_t nest(struct request *r, uint16_t type);
void nest_end(struct request *r, size_t start);
// Sends a request and waits for the first answer that is an error or acknowledgement: 0 or an
// error number; -1 when there is none.
int transact(int protocol, struct request *r);

#endif
