/* SPDX-License-Identifier: GPL-2.0 */
/* Where a function is redirected, and whether it may be. */
#ifndef LUCOS_MANAGER_SITE_H
#define LUCOS_MANAGER_SITE_H

#include <linux/module.h>

#include "failure.h"

struct loaded_function;
struct lucos_candidate;

/*
 * Finds out, once, what stays true of a function that a patch replaces as long
 * as the patch is loaded: `known` gets the sizes of both functions and, with a
 * reference, the module that the old one belongs to, if it does to one.
 */
bool lucos_site_know(const struct lucos_patch_function *wanted,
		     const struct module *patch_module,
		     struct loaded_function *known,
		     struct lucos_failure *failure);

/*
 * Finds the place of the site of a candidate whose function is known, and what
 * the kernel does with the bytes there. Can sleep.
 */
bool lucos_site_find(struct lucos_candidate *candidate,
		     struct lucos_failure *failure);

/*
 * Judges the old function of a candidate that was found and fills `function`
 * but for the expected bytes. `at_slot` asks for the ftrace slot itself as the
 * site and says why (0: the site is behind it); it is set when the slot is
 * chosen here. Can sleep. The kprobe lock is held, so that what is said of
 * kprobes stays true.
 */
bool lucos_site_judge(struct lucos_candidate *candidate,
		      struct lucos_failure *failure);

#endif
