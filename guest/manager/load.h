/* SPDX-License-Identifier: GPL-2.0 */
/* What is checked and held when a patch module is loaded. */
#ifndef LUCOS_MANAGER_LOAD_H
#define LUCOS_MANAGER_LOAD_H

#include "patches.h"

/* Whether the module's own records are well-formed. */
bool lucos_load_check(const struct lucos_patch *patch,
		      const struct module *module,
		      struct lucos_failure *failure);

/* Takes references on the modules whose symbols the patch uses. */
bool lucos_load_pin(struct loaded_patch *loaded, struct lucos_failure *failure);

/* Gives them back. */
void lucos_load_unpin(struct loaded_patch *loaded);

/* Text of a module: its address and size. */
unsigned long lucos_module_text(const struct module *module);
unsigned long lucos_module_text_size(const struct module *module);

#endif
