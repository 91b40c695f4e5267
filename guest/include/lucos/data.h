/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Data of the kernel that a patch changes, and functions that are called around
 * an update. Included by lucos/patch.h; see docs/patch-authors-guide.md.
 */
#ifndef LUCOS_DATA_H
#define LUCOS_DATA_H

#include <linux/compiler.h>

#include <lucos/interface.h>

LUCOS_TABLE_START(".lucos.values", "lucos_values_start");
LUCOS_TABLE(lucos_values_start);
LUCOS_TABLE(lucos_values_end);

#define LUCOS_PASTE_(a, b)	a##b
#define LUCOS_PASTE(a, b)	LUCOS_PASTE_(a, b)

/* One struct lucos_patch_value, and its address in the table. */
#define LUCOS_VALUE_ENTRY(number, lvalue, text, mask_address, value_flags, \
			  old_value, new_value)				\
	static typeof(lvalue) LUCOS_PASTE(lucos_value_old_, number)	\
	__used = old_value;						\
	static typeof(lvalue) LUCOS_PASTE(lucos_value_new_, number)	\
	__used = new_value;						\
	static const struct lucos_patch_value				\
	LUCOS_PASTE(lucos_value_, number) __used = {			\
		.address = (unsigned long)&(lvalue),			\
		.old = (unsigned long)&LUCOS_PASTE(lucos_value_old_, number), \
		.new = (unsigned long)&LUCOS_PASTE(lucos_value_new_, number), \
		.mask = mask_address,					\
		.length = sizeof(lvalue),				\
		.flags = value_flags,					\
		.name = text,						\
	};								\
	asm(".pushsection .lucos.values, \"aw\", @progbits\n"		\
	    ".quad lucos_value_" LUCOS_STRING(number) "\n"		\
	    ".popsection\n")

#define LUCOS_BITS_ENTRY(number, lvalue, text, bits, value_flags,	\
			 old_value, new_value)				\
	static typeof(lvalue) LUCOS_PASTE(lucos_value_mask_, number)	\
	__used = bits;							\
	LUCOS_VALUE_ENTRY(number, lvalue, text,				\
		(unsigned long)&LUCOS_PASTE(lucos_value_mask_, number),	\
		value_flags, old_value, new_value)

/*
 * Changes an object of the kernel in the same step as the functions: a variable,
 * an entry of a table, a member of a structure whose address the linker knows.
 * Read-only data too. Old and new value are constants or addresses.
 *
 *	LUCOS_VALUE(proc_net_inode_operations.setattr, NULL, proc_setattr);
 *
 * The patch is refused where something else than the old value is there. A
 * rollback writes the old value back, unless somebody has changed the new one.
 */
#define LUCOS_VALUE(lvalue, old, new)					\
	LUCOS_VALUE_ENTRY(__COUNTER__, lvalue, #lvalue, 0, 0, old, new)

/* The same for some bits of a number; the others are left to their owners. */
#define LUCOS_BITS(lvalue, mask, old, new)				\
	LUCOS_BITS_ENTRY(__COUNTER__, lvalue, #lvalue, mask, 0, old, new)

/*
 * The same for a default: where something else than the old value is there,
 * somebody has chosen that. It stays, and the rest of the patch is applied.
 */
#define LUCOS_DEFAULT(lvalue, old, new)					\
	LUCOS_VALUE_ENTRY(__COUNTER__, lvalue, #lvalue, 0,		\
			  LUCOS_VALUE_IF_DEFAULT, old, new)
#define LUCOS_DEFAULT_BITS(lvalue, mask, old, new)			\
	LUCOS_BITS_ENTRY(__COUNTER__, lvalue, #lvalue, mask,		\
			 LUCOS_VALUE_IF_DEFAULT, old, new)

static int (*lucos_on_apply)(void) __maybe_unused;
static void (*lucos_on_rollback)(void) __maybe_unused;

/*
 * Has `function`, an int (void), called when the patch has come into force, by
 * the update manager in process context. When it gives something else than 0,
 * an errno, the patch is rolled back.
 */
#define LUCOS_ON_APPLY(function)					\
	static int (*lucos_on_apply)(void) = function

/* Has `function`, a void (void), called before the patch is rolled back. */
#define LUCOS_ON_ROLLBACK(function)					\
	static void (*lucos_on_rollback)(void) = function

#endif
