// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, block devices and asynchronous requests.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <linux/time_types.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fixes.h"

// A ring for one request at a time.
struct ring {
	int file;
	struct io_uring_params parameters;
	uint8_t *submissions;
	uint8_t *completions;
	struct io_uring_sqe *entry;
};

static int open_ring(struct ring *ring)
{
	const int access = PROT_READ | PROT_WRITE;

	*ring = (struct ring){ .file = -1 };
	ring->file = (int)syscall(SYS_io_uring_setup, 1, &ring->parameters);
	if (ring->file < 0)
		return fail("io_uring_setup");
	ring->submissions = mmap(NULL, 4096, access, MAP_SHARED, ring->file, IORING_OFF_SQ_RING);
	ring->completions = mmap(NULL, 4096, access, MAP_SHARED, ring->file, IORING_OFF_CQ_RING);
	ring->entry = mmap(NULL, sizeof(*ring->entry), access, MAP_SHARED, ring->file, IORING_OFF_SQES);
	if (ring->submissions == MAP_FAILED || ring->completions == MAP_FAILED ||
	    ring->entry == MAP_FAILED)
		return fail("mmap");
	return 0;
}

// Submits a request, and waits for a completion unless `waits` is 0. Returns its result; positive:
// the ring itself failed.
static int submit(struct ring *ring, struct io_uring_sqe entry, unsigned int waits)
{
	uint32_t *array = (void *)(ring->submissions + ring->parameters.sq_off.array);
	uint32_t *tail = (void *)(ring->submissions + ring->parameters.sq_off.tail);
	const struct io_uring_cqe *result = (void *)(ring->completions + ring->parameters.cq_off.cqes);

	*ring->entry = entry;
	array[0] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring->file, 1, waits, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return fail("io_uring_enter");
	return waits ? result->res : 0;
}

// A timeout of a millisecond, with a value in a field that timeouts do not have.
int timeout_fields(void)
{
	const struct __kernel_timespec time = { .tv_nsec = 1000000 };
	struct ring ring;

	if (open_ring(&ring))
		return 1;

	int result = submit(&ring,
			    (struct io_uring_sqe){
				    .opcode = IORING_OP_TIMEOUT,
				    .addr = (uintptr_t)&time,
				    .len = 1,
				    .addr3 = 1,
			    },
			    1);

	return result > 0 ? 1 : print_error(-result);
}

// IORING_TIMEOUT_MULTISHOT, which the headers of Debian 12 do not have yet.
#define MULTISHOT (1U << 6)

// Changes a timeout that repeats into one at an absolute time.
int absolute_update(void)
{
	const struct __kernel_timespec time = { .tv_sec = 1000000 };
	struct ring ring;

	if (open_ring(&ring))
		return 1;

	int result = submit(&ring,
			    (struct io_uring_sqe){
				    .opcode = IORING_OP_TIMEOUT,
				    .addr = (uintptr_t)&time,
				    .len = 1,
				    .timeout_flags = MULTISHOT,
				    .user_data = 7,
			    },
			    0);

	if (!result)
		result = submit(&ring,
				(struct io_uring_sqe){
					.opcode = IORING_OP_TIMEOUT_REMOVE,
					.addr = 7,
					.addr2 = (uintptr_t)&time,
					.timeout_flags = IORING_TIMEOUT_UPDATE | IORING_TIMEOUT_ABS,
				},
				1);
	return result > 0 ? 1 : print_error(-result);
}

// Copies nothing, from the end of a file, to a place behind the limit of a file's size.
int copy_behind_limit(void)
{
	const struct rlimit limit = { 4096, 4096 };
	int from = memfd_create("from", 0), to = memfd_create("to", 0);
	off_t place = 8192;

	signal(SIGXFSZ, SIG_IGN);
	if (from < 0 || to < 0 || setrlimit(RLIMIT_FSIZE, &limit))
		return fail("cannot prepare the files");
	return print_error(copy_file_range(from, NULL, to, &place, 4096, 0) < 0 ? errno : 0);
}

// Gives a file that nobody may change a hint of how long its data will live.
int hint_of_immutable(void)
{
	static const char place[] = "/tmp/fixes.immutable";
	const uint64_t hint = RWH_WRITE_LIFE_SHORT;
	int flags = FS_IMMUTABLE_FL, none = 0;
	int file = open(place, O_RDWR | O_CREAT, 0600);

	if (file < 0 || ioctl(file, FS_IOC_SETFLAGS, &flags))
		return fail(place);

	int number = fcntl(file, F_SET_RW_HINT, &hint) ? errno : 0;

	if (ioctl(file, FS_IOC_SETFLAGS, &none) || unlink(place))
		return fail(place);
	return print_error(number);
}

// Changes the block size of a loop device that another opener holds exclusively.
int loop_block_size(void)
{
	static const char place[] = "/tmp/fixes.loop";
	char name[32];
	int backing = open(place, O_RDWR | O_CREAT | O_TRUNC, 0600);
	int control = open("/dev/loop-control", O_RDWR);

	if (backing < 0 || unlink(place) || ftruncate(backing, 1 << 20))
		return fail(place);
	if (control < 0)
		return fail("/dev/loop-control");

	int number = ioctl(control, LOOP_CTL_GET_FREE);

	if (number < 0)
		return fail("LOOP_CTL_GET_FREE");
	snprintf(name, sizeof(name), "/dev/loop%d", number);

	int device = open(name, O_RDWR);

	if (device < 0 || ioctl(device, LOOP_SET_FD, backing))
		return fail(name);

	int owner = open(name, O_RDWR | O_EXCL);
	int result = owner < 0 ? fail("O_EXCL") : 0;

	if (!result)
		result = print_error(ioctl(device, LOOP_SET_BLOCK_SIZE, 4096) ? errno : 0);
	close(owner);
	if (ioctl(device, LOOP_CLR_FD, 0))
		return fail("LOOP_CLR_FD");
	return result;
}
