/*
 * trampolines FUNCTION COMMAND [ARGUMENT...]
 *
 * Attaches a BPF fentry and a BPF fexit program to a function of the kernel,
 * runs the command, and prints how often each of them ran meanwhile and what
 * the function returned last: "fentry 3 fexit 3 returned 0". Ends with the
 * command's status, or with 125 when something goes wrong.
 */
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the programs count, as one value of an array map. */
struct counts {
	uint64_t entries;
	uint64_t exits;
	uint64_t returned;
};

static void die(const char *what)
{
	perror(what);
	exit(125);
}

static int bpf(enum bpf_cmd command, union bpf_attr *attributes, const char *what)
{
	int result = syscall(SYS_bpf, command, attributes, sizeof(*attributes));

	if (result < 0)
		die(what);
	return result;
}

/* The kernel's types, all in one piece. */
static const struct btf_header *read_types(void)
{
	int file = open("/sys/kernel/btf/vmlinux", O_RDONLY);
	struct stat status;
	char *types;
	ssize_t part;
	off_t done;

	if (file < 0 || fstat(file, &status))
		die("/sys/kernel/btf/vmlinux");
	types = malloc(status.st_size);
	for (done = 0; types && done < status.st_size; done += part) {
		part = read(file, types + done, status.st_size - done);
		if (part <= 0)
			die("reading the kernel's types");
	}
	return (struct btf_header *)types;
}

/* Bytes that follow the record of a type. */
static size_t tail(const struct btf_type *type)
{
	uint32_t count = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return sizeof(uint32_t);
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return count * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return count * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return count * 3 * sizeof(uint32_t);
	case BTF_KIND_FUNC_PROTO:
		return count * sizeof(struct btf_param);
	case BTF_KIND_DATASEC:
		return count * sizeof(struct btf_var_secinfo);
	default:
		return 0;
	}
}

static const struct btf_type *type_of(const struct btf_header *types, uint32_t wanted,
				      const char *function, uint32_t *number)
{
	const char *start = (const char *)types + types->hdr_len;
	const char *at = start + types->type_off;
	const char *end = at + types->type_len;
	uint32_t id;

	for (id = 1; at < end; id++) {
		const struct btf_type *type = (const struct btf_type *)at;
		const char *name = start + types->str_off + type->name_off;

		if (function ? BTF_INFO_KIND(type->info) == BTF_KIND_FUNC && !strcmp(name, function) :
			       id == wanted) {
			if (number)
				*number = id;
			return type;
		}
		at += sizeof(*type) + tail(type);
	}
	fprintf(stderr, "the kernel's types have no %s\n", function ? function : "such number");
	exit(125);
}

/* Adds one to a 64-bit number of the map's value, then goes on with `rest`. */
static int load(int map, uint32_t type, enum bpf_attach_type attach, uint32_t place,
		const struct bpf_insn *rest, size_t rest_size)
{
	static char log[4096];
	struct bpf_insn code[16] = {
		/* r6 = the context; r1 = the address of the value's member */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 1 },
		{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE,
		  .imm = map },
		{ .imm = place },
		/* r2 = 1; lock *r1 += r2 */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 1 },
		{ .code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = 1, .src_reg = 2, .imm = BPF_ADD },
	};
	static const struct bpf_insn end[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	size_t count = 5;
	union bpf_attr program = {
		.prog_type = BPF_PROG_TYPE_TRACING,
		.insns = (uintptr_t)code,
		.license = (uintptr_t)"Dual MIT/GPL",
		.log_level = 1,
		.log_size = sizeof(log),
		.log_buf = (uintptr_t)log,
		.expected_attach_type = attach,
		.attach_btf_id = type,
	};
	union bpf_attr link = { 0 };
	int file;

	memcpy(code + count, rest, rest_size);
	count += rest_size / sizeof(*rest);
	memcpy(code + count, end, sizeof(end));
	program.insn_cnt = count + 2;
	file = syscall(SYS_bpf, BPF_PROG_LOAD, &program, sizeof(program));
	if (file < 0) {
		fputs(log, stderr);
		die("loading a program");
	}
	link.raw_tracepoint.prog_fd = file;
	return bpf(BPF_RAW_TRACEPOINT_OPEN, &link, "attaching a program");
}

int main(int count, char **words)
{
	const struct btf_header *types;
	const struct btf_type *function, *prototype;
	uint32_t type, key = 0;
	struct counts counts = { 0 };
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(key),
		.value_size = sizeof(counts),
		.max_entries = 1,
	};
	union bpf_attr look = { 0 };
	int place, status = 0;
	pid_t child;

	if (count < 3) {
		fprintf(stderr, "usage: trampolines FUNCTION COMMAND [ARGUMENT...]\n");
		return 125;
	}
	types = read_types();
	function = type_of(types, 0, words[1], &type);
	prototype = type_of(types, function->type, NULL, NULL);
	place = bpf(BPF_MAP_CREATE, &map, "making a map");

	/* Behind the arguments stands what the function returns. */
	const struct bpf_insn keep_result[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 3, .src_reg = 6,
		  .off = 8 * BTF_INFO_VLEN(prototype->info) },
		{ .code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 1, .src_reg = 3, .off = 8 },
	};
	load(place, type, BPF_TRACE_FENTRY, 0, NULL, 0);
	load(place, type, BPF_TRACE_FEXIT, 8, keep_result, sizeof(keep_result));

	child = fork();
	if (!child) {
		execvp(words[2], words + 2);
		die(words[2]);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		die("running the command");
	look.map_fd = place;
	look.key = (uintptr_t)&key;
	look.value = (uintptr_t)&counts;
	bpf(BPF_MAP_LOOKUP_ELEM, &look, "reading the map");
	printf("fentry %llu fexit %llu returned %lld\n", (unsigned long long)counts.entries,
	       (unsigned long long)counts.exits, (long long)counts.returned);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
