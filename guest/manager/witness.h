/* SPDX-License-Identifier: GPL-2.0 */
/* Whether anybody is inside code that an update leaves, at the instant of a stop. */
#ifndef LUCOS_MANAGER_WITNESS_H
#define LUCOS_MANAGER_WITNESS_H

#include <linux/types.h>

#include "code.h"

struct lucos_stopped_processors;

/*
 * Looks at every thread, and from now on notes those that run: what is known of
 * the others stays true. Until the end the caller is the only thread that makes
 * calls that lead to the witness; its frame `frame` was made before addresses in
 * `code` came onto its stack. Gives 0, -ENOMEM, or -ETIMEDOUT when a thread runs in
 * the kernel without a pause: then nobody knows who is inside. In each case the
 * witness is to be ended. Sleeps, for as long as an RCU-tasks grace period.
 */
int lucos_witness_start(const struct lucos_code *code, void *frame);
void lucos_witness_end(void);

/* What the witness gives when it knows no address. */
#define LUCOS_WITNESS_CANNOT_TELL 1

/*
 * Called while all processors stand still, in an upcall: it reads only, but for
 * its stack. These are the processors, or some of them, apart from the one that
 * calls. Gives 0 when nobody is inside, else where somebody is, or an address
 * that leads there. May find somebody who is not there.
 */
unsigned long
lucos_witness(const struct lucos_stopped_processors *processors);

#endif
