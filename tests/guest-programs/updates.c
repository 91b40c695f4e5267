/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Puts a module in force and takes it back, and says what each step took, in
 * ticks of the time-stamp counter. One line for each figure or text: WHAT, its
 * name, and the value. The modules are as `lucos resolve` writes them.
 *
 *	updates lucos WHAT FILE NAME PARAMETERS COMMAND
 *		loads the patch; runs the command for the sign of the new code;
 *		then, with the module loaded, puts the patch in force and takes
 *		it back between questions for the state of LUCOS
 *	updates livepatch WHAT FILE NAME SECONDS COMMAND
 *		the same with a module for the kernel's own livepatch, whose
 *		transition may take so many seconds before it is cancelled
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <lucos/interface.h>

/* How long anything takes at most that is not the transition. */
#define SECONDS 20
#define PER_SECOND 1000

/* Rounds of which the least counts. */
#define ROUNDS 3

static const char *what;
static int manager;

__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list words;

	fprintf(stderr, "%s: ", what);
	va_start(words, format);
	vfprintf(stderr, format, words);
	va_end(words);
	fputc('\n', stderr);
	exit(1);
}

static void report(const char *name, uint64_t ticks)
{
	printf("%s.%s %llu\n", what, name, (unsigned long long)ticks);
}

static void pause_ms(unsigned int milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000l };

	nanosleep(&time, NULL);
}

/* Loads a module: 0, or the error. */
static int load(const char *file, const char *parameters, uint64_t *start, uint64_t *end)
{
	int fd = open(file, O_RDONLY);
	struct stat stat;
	void *image;
	long result;
	int error;

	if (fd < 0 || fstat(fd, &stat))
		fail("%s: %m", file);
	image = malloc(stat.st_size);
	if (!image || read(fd, image, stat.st_size) != stat.st_size)
		fail("%s cannot be read", file);
	close(fd);
	*start = __rdtsc();
	result = syscall(SYS_init_module, image, stat.st_size, parameters);
	*end = __rdtsc();
	error = result ? errno : 0;
	free(image);
	return error;
}

/* Unloads a module, which may be in use for a moment. */
static void unload(const char *name)
{
	for (int i = 0; i < SECONDS * PER_SECOND; i++) {
		if (!syscall(SYS_delete_module, name, O_NONBLOCK) || errno == ENOENT)
			return;
		pause_ms(1);
	}
	fail("%s is not unloaded: %m", name);
}

/* Prints the first line of what a command prints. */
static void show_sign(const char *command)
{
	char line[256] = "";
	FILE *output;

	if (!*command)
		return;
	output = popen(command, "r");
	if (!output || !fgets(line, sizeof(line), output))
		fail("%s prints nothing", command);
	pclose(output);
	line[strcspn(line, "\n")] = 0;
	printf("%s.sign %s\n", what, line);
}

/* Has `lucos` print what it is asked for; so that what it costs is the same each time. */
static void show(const char *name, const char *command)
{
	char line[1 << 14];
	FILE *output = popen(command, "r");

	if (!output || !fgets(line, sizeof(line), output) || pclose(output))
		fail("%s fails", command);
	line[strcspn(line, "\n")] = 0;
	printf("%s.%s %s\n", what, name, line);
}

static void show_status(const char *name)
{
	show(name, "lucos status --json");
}

static const char *error_name(uint32_t code)
{
	switch (code) {
#define CASE(name, number, meaning) case number: return #name;
	LUCOS_ERRORS(CASE)
#undef CASE
	}
	return "UNKNOWN";
}

/* Has the update manager do something; gives the ticks that it took. */
static uint64_t tell(const char *command)
{
	struct {
		struct lucos_reply reply;
		struct lucos_record record;
		struct lucos_failure failure;
	} answer;
	uint64_t start, end;
	ssize_t length;

	start = __rdtsc();
	if (write(manager, command, strlen(command)) < 0)
		fail("%s: %m", command);
	length = read(manager, &answer, sizeof(answer));
	end = __rdtsc();
	if (length < (ssize_t)sizeof(answer.reply) ||
	    answer.reply.length != (uint64_t)length)
		fail("%s: no reply", command);
	if (answer.reply.records)
		fail("%s: %s", command, error_name(answer.failure.code));
	return end - start;
}

/* Whether a patch stays loaded, since the kernel may hold on to something of it. */
static bool is_kept(const char *shown)
{
	char line[1 << 14] = "";
	FILE *output = popen(shown, "r");

	if (!output || !fgets(line, sizeof(line), output) || pclose(output))
		fail("%s fails", shown);
	return strstr(line, "\"state\":\"kept\"");
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void lucos(const char *file, const char *name, const char *parameters,
		  const char *command)
{
	char apply[128], shown[128], rollback[128];
	uint64_t start, end, applying, taking_back;
	int error;

	snprintf(apply, sizeof(apply), "apply %s", name);
	snprintf(shown, sizeof(shown), "lucos show %s --json", name);
	snprintf(rollback, sizeof(rollback), "rollback %s", name);
	manager = open("/dev/lucos", O_RDWR);
	if (manager < 0)
		fail("/dev/lucos: %m");
	error = load(file, parameters, &start, &end);
	if (error)
		fail("%s: %s", file, strerror(error));
	report("load", end - start);
	pause_ms(1000);
	show_sign(command);
	tell(rollback);
	pause_ms(1000);

	/* What asking costs, a first time for what is done once. */
	show_status("warm");
	show_status("ask.0");
	show_status("ask.1");
	show_status("start");
	applying = tell(apply);
	show_status("applied");
	pause_ms(1000);
	show_status("settled");
	show("show", shown);
	show_status("shown");
	taking_back = tell(rollback);
	show_status("rolled");

	/* An interrupt that came meanwhile is not the update's. */
	for (int i = 1; i < ROUNDS; i++) {
		pause_ms(1000);
		applying = least(applying, tell(apply));
		pause_ms(1000);
		taking_back = least(taking_back, tell(rollback));
	}
	report("apply", applying);
	report("rollback", taking_back);
	if (!is_kept(shown))
		unload(name);
}

/* Prints what livepatch wrote into the kernel's log about its failure. */
static void show_reason(int log)
{
	char record[8192];
	ssize_t length;

	while ((length = read(log, record, sizeof(record) - 1)) > 0) {
		char *text;

		record[length] = 0;
		text = strstr(record, ";livepatch: ");
		if (!text)
			continue;
		text[strcspn(text, "\n")] = 0;
		/* What went wrong at first; the lines behind it say what that led to. */
		if (strstr(text, "failed")) {
			printf("%s.reason %s\n", what, text + 1);
			return;
		}
	}
}

/* Whether no transition goes on; so when livepatch has forgotten the patch. */
static bool is_settled(const char *name)
{
	char path[128], digit = '0';
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/livepatch/%s/transition", name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return true;
	/* It goes while it is read: it is forgotten. */
	if (read(fd, &digit, 1) != 1)
		digit = '0';
	close(fd);
	return digit == '0';
}

static bool settles(const char *name, unsigned int seconds)
{
	for (unsigned int i = 0; i < seconds * PER_SECOND; i++) {
		if (is_settled(name))
			return true;
		pause_ms(1);
	}
	return false;
}

static void disable(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/livepatch/%s/enabled", name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, "0", 1) != 1)
		fail("%s: %m", path);
	close(fd);
}

/* Prints the first task that has not changed over to the new code. */
static void show_who(void)
{
	DIR *tasks = opendir("/proc");
	struct dirent *task;

	while (tasks && (task = readdir(tasks))) {
		char path[300], state[8] = "", name[64] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%s/patch_state", task->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (!fgets(state, sizeof(state), file))
			state[0] = 0;
		fclose(file);
		if (strcmp(state, "0\n"))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", task->d_name);
		file = fopen(path, "r");
		if (file && fgets(name, sizeof(name), file)) {
			name[strcspn(name, "\n")] = 0;
			printf("%s.who %s\n", what, name);
		}
		if (file)
			fclose(file);
		break;
	}
	if (tasks)
		closedir(tasks);
}

static void livepatch(const char *file, const char *name, unsigned int seconds,
		      const char *command)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	uint64_t start, end;
	int error;

	if (log < 0 || lseek(log, 0, SEEK_END) < 0)
		fail("/dev/kmsg: %m");
	error = load(file, "", &start, &end);
	if (error) {
		printf("%s.refused %s\n", what, strerror(error));
		show_reason(log);
		return;
	}
	report("load", end - start);
	if (settles(name, seconds)) {
		report("complete", __rdtsc() - start);
		show_sign(command);
	} else {
		report("waited", __rdtsc() - start);
		show_who();
	}
	start = __rdtsc();
	disable(name);
	if (!settles(name, SECONDS))
		fail("the transition back does not end");
	report("disable", __rdtsc() - start);
	unload(name);
}

int main(int count, char **words)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (count != 7) {
		fputs("usage: updates lucos|livepatch WHAT FILE NAME PARAMETERS|SECONDS COMMAND\n",
		      stderr);
		return 2;
	}
	what = words[2];
	if (!strcmp(words[1], "lucos"))
		lucos(words[3], words[4], words[5], words[6]);
	else
		livepatch(words[3], words[4], atoi(words[5]), words[6]);
	return 0;
}
