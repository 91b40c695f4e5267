/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A busy machine, and updates of its kernel meanwhile. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lucos/interface.h>

/* Patches load_1 to load_13; load_K has the first K of the functions. */
#define PATCHES 13

#define MOST_CPUS 4

/* What every worker of the load does. */
enum kind { KIND_EXEC, KIND_FAULT, KIND_PIPE, KIND_TIMER, KIND_NETWORK, KINDS };

/* In memory that all processes share. */
struct shared {
	int stop;
	uint64_t rounds[MOST_CPUS][KINDS];	/* that gave the right result */
	uint64_t wrong[MOST_CPUS][KINDS];
	/* The probes: a round is ordered, each answers with its number. */
	int round;
	int answered[MOST_CPUS];
	int probe_errors;
	/* Contending processes. */
	int arrived;
	int generation;
	uint64_t outcomes[8];
	int mixed;
};

extern struct shared *shared;
extern int cpus;
extern const char *program;

/* Ends the program after a message with the reason of the last call. */
void fail(const char *what) __attribute__((noreturn));
void pin_to(int cpu);
/* Ahead of the load, so that it does not set the pace. */
void go_ahead_of_load(bool ahead);

/* load: workers */
void start_workers(void);
void stop_workers(void);
int run_child(const char *number);

/* probes: a known number of calls on each processor */
#define PROBE_CALLS 16
/* Functions whose calls by a probe are known exactly, and how often. */
extern const unsigned int exact_calls[PATCHES];
void start_probes(void);
void run_probes(void);
void stop_probes(void);
extern int probe_pids[MOST_CPUS];

/* manager: commands to the update manager */
enum outcome {
	OUTCOME_DONE,
	OUTCOME_APPLIED_ALREADY,
	OUTCOME_NOT_APPLIED,
	OUTCOME_STACKED,
	OUTCOME_BUSY,
	OUTCOME_LATE,	/* a processor did not stop in time */
	OUTCOME_OTHER,
};
enum outcome manager(const char *command, int patch);
/* The name of the error that the last command ended with. */
const char *manager_complaint(void);
bool patch_is(int patch, enum lucos_loaded_state state);
/* Whether a function of the patch is redirected by a trap. */
bool patch_traps(int patch);
/* The addresses where a patch redirects; gives their number. */
int patch_sites(int patch, uint64_t *addresses, int most);

/* patches: their modules */
bool load_and_apply(int patch);
/* Waits until every trap of the patch has become a jump. */
bool wait_for_jumps(int patch);
bool unload(int patch);
/* Loads all patches, each taken back again, and finds their sites. */
void load_patches(void);

/* text: the bytes of the kernel's functions */
#define SITE_BYTES 16
struct site {
	uint64_t address;
	uint8_t bytes[SITE_BYTES];
};
extern struct site sites[PATCHES];
/* Remembers where the last patch redirects. */
void find_sites(void);
/* Remembers the bytes there. */
void read_sites(void);
/* Compares with what read_sites saw: the number of sites that differ. */
int different_sites(void);
uint8_t first_byte(int site);

/* What the command line names. */
int run_cycles(int count);
int run_contention(int count);
int run_workers(const char *end);

#endif
