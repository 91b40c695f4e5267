// SPDX-License-Identifier: MIT OR Apache-2.0
// Work for kernels whose functions are replaced together with their static variables:
//
//   variables hold 4|6 STOP     holds a TCP connection over the loopback until there is a file STOP,
//                               and prints "held" if every byte arrived
//   variables listen PORT       has a TCP connection to PORT of 127.0.0.1, once
//   variables mixed FILE        as an ordinary user runs FILE, a program that is set-user-ID root and
//                               has capabilities too
//   variables number FILE       makes a file and prints its inode number

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static int fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

// Both ends of a connection to a port of this machine, 0 for any.
static int connection(int family, int port, int ends[2])
{
	union address at = { .any.sa_family = family };
	socklen_t size = family == AF_INET ? sizeof at.v4 : sizeof at.v6;
	int one = 1;

	if (family == AF_INET) {
		at.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		at.v4.sin_port = htons(port);
	} else {
		at.v6.sin6_addr = in6addr_loopback;
		at.v6.sin6_port = htons(port);
	}
	int listener = socket(family, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, &at.any, size) || listen(listener, 1) ||
	    getsockname(listener, &at.any, &size))
		return fail("listen");
	ends[0] = socket(family, SOCK_STREAM, 0);
	if (connect(ends[0], &at.any, size))
		return fail("connect");
	ends[1] = accept(listener, NULL, NULL);
	close(listener);
	return ends[1] < 0 ? fail("accept") : 0;
}

static int hold(int family, const char *stop)
{
	struct timeval limit = { .tv_sec = 10 };
	unsigned int count = 0;
	int ends[2];
	char byte = 'x';

	if (connection(family, 0, ends))
		return 1;
	setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	for (; access(stop, F_OK); count++) {
		if (send(ends[0], &byte, 1, MSG_NOSIGNAL) != 1)
			return fail("send");
		if (recv(ends[1], &byte, 1, 0) != 1)
			return fail("receive");
		usleep(50000);
	}
	puts(count ? "held" : "nothing was sent");
	return 0;
}

static int copy(const char *from, const char *to)
{
	char block[65536];
	ssize_t length;
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);

	if (in < 0 || out < 0)
		return fail(to);
	while ((length = read(in, block, sizeof block)) > 0)
		if (write(out, block, length) != length)
			return fail(to);
	close(out);
	return 0;
}

static int mixed(const char *file)
{
	struct vfs_cap_data caps = {
		.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
		.data[0].permitted = 1 << CAP_NET_RAW,
	};
	int status;

	if (copy("/proc/self/exe", file) || chown(file, 0, 0) || chmod(file, 04755) ||
	    setxattr(file, "security.capability", &caps, XATTR_CAPS_SZ_2, 0))
		return fail(file);
	pid_t child = fork();
	if (!child) {
		if (setgid(1000) || setuid(1000))
			_exit(2);
		execl(file, file, "nothing", NULL);
		_exit(3);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 4;
}

static int number(const char *file)
{
	struct stat found;
	int made = open(file, O_WRONLY | O_CREAT, 0644);

	if (made < 0 || fstat(made, &found))
		return fail(file);
	close(made);
	printf("%lu\n", (unsigned long)found.st_ino);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int ends[2];

	if (argc == 4 && !strcmp(what, "hold"))
		return hold(*argv[2] == '4' ? AF_INET : AF_INET6, argv[3]);
	if (argc == 3 && !strcmp(what, "listen"))
		return connection(AF_INET, atoi(argv[2]), ends);
	if (argc == 3 && !strcmp(what, "mixed"))
		return mixed(argv[2]);
	if (argc == 3 && !strcmp(what, "number"))
		return number(argv[2]);
	return strcmp(what, "nothing") != 0;
}
