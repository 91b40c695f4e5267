/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the author of a patch module includes.
 *
 *	#include <lucos/patch.h>
 *
 *	LUCOS_REPLACE(cmdline_proc_show, int, struct seq_file *m, void *v)
 *	{
 *		...
 *	}
 *
 *	LUCOS_PATCH("cmdline-word", "adds a word to /proc/cmdline");
 *
 * lucos/data.h, which comes with it, has what changes data and what is called
 * around an update. All of this stands in one file of the module, LUCOS_PATCH last; further
 * files may hold helpers. The module is loaded by `lucos apply`, which gives
 * every symbol that the kernel does not export its address. See
 * docs/patch-authors-guide.md.
 */
#ifndef LUCOS_PATCH_H
#define LUCOS_PATCH_H

#include <linux/compiler.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include <lucos/interface.h>

/* The update manager's part. */
int lucos_patch_load(struct lucos_patch *patch, struct module *module);
void lucos_patch_unload(struct lucos_patch *patch);

/*
 * The tables are written by top-level assembly, which the compiler keeps in
 * order: their starts here, their ends in LUCOS_PATCH. `lucos` compares what
 * lies between with the size of the section, so an entry outside is noticed.
 */
#define LUCOS_TABLE_START(section, label)				\
	asm(".pushsection " section ", \"aw\", @progbits\n"		\
	    ".balign 8\n"						\
	    label ":\n"							\
	    ".popsection\n")

#define LUCOS_TABLE_END(section, label)	LUCOS_TABLE_START(section, label)

LUCOS_TABLE_START(".lucos.functions", "lucos_functions_start");
LUCOS_TABLE_START(".lucos.expected", "lucos_expected_start");
LUCOS_TABLE_START(".lucos.dependencies", "lucos_dependencies_start");
LUCOS_TABLE_START(".lucos.kept", "lucos_kept_start");
LUCOS_TABLE_START(".lucos.twins", "lucos_twins_start");
LUCOS_TABLE_START(".lucos.versions", "lucos_versions_start");
LUCOS_TABLE_START(".lucos.shared", "lucos_shared_start");

#define LUCOS_TABLE(name)						\
	extern const char name[] __attribute__((visibility("hidden")))

LUCOS_TABLE(lucos_functions_start);
LUCOS_TABLE(lucos_functions_end);
LUCOS_TABLE(lucos_expected_start);
LUCOS_TABLE(lucos_expected_end);
LUCOS_TABLE(lucos_dependencies_start);
LUCOS_TABLE(lucos_dependencies_end);
LUCOS_TABLE(lucos_kept_start);
LUCOS_TABLE(lucos_kept_end);
LUCOS_TABLE(lucos_twins_start);
LUCOS_TABLE(lucos_twins_end);
LUCOS_TABLE(lucos_versions_start);
LUCOS_TABLE(lucos_versions_end);
LUCOS_TABLE(lucos_shared_start);
LUCOS_TABLE(lucos_shared_end);

#define LUCOS_STRING_(text)	#text
#define LUCOS_STRING(text)	LUCOS_STRING_(text)

#include <lucos/data.h>

/* A text that fills so many bytes; a longer one does not assemble. */
#define LUCOS_TEXT_FIELD(text, size)					\
	"771: .asciz \"" text "\"\n"					\
	".org 771b + " LUCOS_STRING(size) ", 0\n"

#define LUCOS_NAME_FIELD(text)	LUCOS_TEXT_FIELD(text, LUCOS_NAME_SIZE)

/* One struct lucos_patch_function. */
#define LUCOS_FUNCTION_ENTRY(symbol, tag, nth, object, name)		\
	asm(".pushsection .lucos.functions, \"aw\", @progbits\n"	\
	    ".weak " symbol "\n"					\
	    ".quad " symbol "\n"					\
	    ".quad lucos_new_" #tag "\n"				\
	    ".long 0, " #nth "\n"					\
	    LUCOS_NAME_FIELD(name)					\
	    LUCOS_NAME_FIELD(object)					\
	    ".quad 0\n"							\
	    ".popsection\n")

#define LUCOS_DEFINE_NEW(attributes, tag, type, ...)			\
	attributes type lucos_new_##tag(__VA_ARGS__);			\
	attributes type lucos_new_##tag(__VA_ARGS__)

/* The name of the one of several symbols that is meant, see LUCOS_SYMBOL. */
#define LUCOS_SELECT(object, nth, name)					\
	"lucos.select." object "." #nth "." name

/*
 * Replaces a function. The body of the new one follows, as that of an ordinary
 * function:
 *
 *	LUCOS_REPLACE(old, type, arguments...)
 *	{
 *		...
 *	}
 *
 * `old` may be static and need not be exported. A call of `old` in the body
 * calls the new function.
 */
#define LUCOS_REPLACE(old, type, ...)					\
	LUCOS_FUNCTION_ENTRY(#old, old, 0, "", #old);			\
	LUCOS_DEFINE_NEW(noinline, old, type, __VA_ARGS__)

/*
 * The same for a function that runs where nothing may be traced (entry code,
 * idle, NMI, and what these call): the new function is noinstr too. It has no
 * ftrace slot, takes no kprobe, and no sanitizer or stack protector is in it.
 * Where the old function is not traced or takes no kprobe, this is the one to
 * use; the update manager refuses the other.
 */
#define LUCOS_REPLACE_NOINSTR(old, type, ...)				\
	LUCOS_FUNCTION_ENTRY(#old, old, 0, "", #old);			\
	LUCOS_DEFINE_NEW(LUCOS_NOINSTR, old, type, __VA_ARGS__)

/* Early 6.1 kernels have no name for the attribute. */
#define LUCOS_NOINSTR	noinstr __attribute__((__no_stack_protector__))

/*
 * The same for a name that is not enough: `object` is "vmlinux" or the name of
 * a module, `nth` counts the functions of that name in the object in the order
 * of their addresses from 1 (0: there is only one), `name` is the name as
 * /proc/kallsyms shows it, and `tag` any C identifier:
 *
 *	LUCOS_REPLACE_SELECTED("vmlinux", 2, "foo.constprop.0", foo, int, int x)
 */
#define LUCOS_REPLACE_SELECTED(object, nth, name, tag, type, ...)	\
	LUCOS_FUNCTION_ENTRY(LUCOS_SELECT(object, nth, name), tag, nth,	\
			     object, name);				\
	LUCOS_DEFINE_NEW(noinline, tag, type, __VA_ARGS__)

/* Both: one of several of that name, where nothing may be traced. */
#define LUCOS_REPLACE_SELECTED_NOINSTR(object, nth, name, tag, type, ...) \
	LUCOS_FUNCTION_ENTRY(LUCOS_SELECT(object, nth, name), tag, nth,	\
			     object, name);				\
	LUCOS_DEFINE_NEW(LUCOS_NOINSTR, tag, type, __VA_ARGS__)

/*
 * Declares something that the new code uses and whose name is not enough:
 *
 *	extern int helper(int x) LUCOS_SYMBOL("vmlinux", 2, "helper");
 *
 * A unique name needs no more than an `extern` declaration.
 */
#define LUCOS_SYMBOL(object, nth, name) asm(LUCOS_SELECT(object, nth, name))

/*
 * Says which bytes a replaced function must have at its site: behind the ENDBR
 * and the ftrace slot, or at its start when it has neither. At most 16:
 *
 *	LUCOS_EXPECT(cmdline_proc_show, 0x55, 0x48, 0x89, 0xe5)
 *
 * Without it LUCOS expects what it finds when the patch is applied.
 */
#define LUCOS_EXPECT(old, ...)	LUCOS_EXPECT_NAME(#old, __VA_ARGS__)

#define LUCOS_EXPECT_NAME(name, ...)					\
	asm(".pushsection .lucos.expected, \"aw\", @progbits\n"		\
	    LUCOS_NAME_FIELD(name)					\
	    ".long 773f - 772f, 0\n"					\
	    "772: .byte " #__VA_ARGS__ "\n"				\
	    "773: .org 772b + 16, 0\n"					\
	    "774: .fill 773b - 772b, 1, 0xff\n"				\
	    ".org 774b + 16, 0\n"					\
	    ".popsection\n")

/* Names a patch that must be applied before this one. */
#define LUCOS_DEPENDS(name)						\
	asm(".pushsection .lucos.dependencies, \"aw\", @progbits\n"	\
	    LUCOS_NAME_FIELD(name)					\
	    ".quad 0\n"							\
	    ".popsection\n")

/*
 * Says that the kernel may go on using something of the module after the patch
 * is rolled back, and how it comes to know it. The address of a function, text
 * or variable of the module that new code stores somewhere, or hands to a
 * function that stores it, is such a thing:
 *
 *	LUCOS_KEEPS("late_work", "stored in a work item by queue_late_work")
 *
 * The module of such a patch is not unloaded after a rollback; `lucos list`
 * shows the patch as kept. At most 63 and 127 bytes.
 */
#define LUCOS_KEEPS(what, how)						\
	asm(".pushsection .lucos.kept, \"aw\", @progbits\n"		\
	    LUCOS_TEXT_FIELD(what, LUCOS_NAME_SIZE)			\
	    LUCOS_TEXT_FIELD(how, LUCOS_DESCRIPTION_SIZE)		\
	    ".popsection\n")

/*
 * A patch is compiled with -fno-optimize-sibling-calls, which nothing in the
 * source can see: the Kbuild that says so defines LUCOS_NO_TAIL_CALLS too.
 */
#ifdef LUCOS_NO_TAIL_CALLS
#define LUCOS_PATCH_FLAGS	LUCOS_PATCH_NO_TAIL_CALLS
#else
#define LUCOS_PATCH_FLAGS	0
#endif

/*
 * Makes the module a patch; stands last in the file. `patch_name` is what
 * `lucos rollback` takes: 1 to 63 letters, digits or signs, no space.
 */
#define LUCOS_PATCH(patch_name, patch_description)			\
	LUCOS_PATCH_FOR_KERNEL(patch_name, patch_description, 0)

/*
 * The same for one kernel only: the GNU build id follows, as its length and
 * its bytes:
 *
 *	LUCOS_PATCH_FOR_KERNEL("fix", "fixes it", 20, 0x3e, 0x01, ...)
 */
#define LUCOS_PATCH_FOR_KERNEL(patch_name, patch_description, id_length, ...) \
	LUCOS_TABLE_END(".lucos.functions", "lucos_functions_end");	\
	LUCOS_TABLE_END(".lucos.expected", "lucos_expected_end");	\
	LUCOS_TABLE_END(".lucos.dependencies", "lucos_dependencies_end"); \
	LUCOS_TABLE_END(".lucos.kept", "lucos_kept_end");		\
	LUCOS_TABLE_END(".lucos.values", "lucos_values_end");		\
	LUCOS_TABLE_END(".lucos.twins", "lucos_twins_end");		\
	LUCOS_TABLE_END(".lucos.versions", "lucos_versions_end");	\
	LUCOS_TABLE_END(".lucos.shared", "lucos_shared_end");		\
									\
	static bool lucos_check;					\
	module_param(lucos_check, bool, 0);				\
	MODULE_PARM_DESC(lucos_check, "check the patch, apply nothing");	\
	static bool lucos_join;						\
	module_param(lucos_join, bool, 0);				\
	MODULE_PARM_DESC(lucos_join, "to be applied in one step with others"); \
	static char *lucos_modules;					\
	module_param(lucos_modules, charp, 0);				\
	MODULE_PARM_DESC(lucos_modules, "modules whose symbols are used");	\
									\
	static struct lucos_patch lucos_this_patch			\
	__used __section(".lucos.patch") = {				\
		.version = LUCOS_PATCH_VERSION,				\
		.size = sizeof(struct lucos_patch),			\
		.flags = LUCOS_PATCH_FLAGS,				\
		.name = patch_name,					\
		.description = patch_description,			\
		.build_id_length = id_length,				\
		.build_id = { __VA_ARGS__ },				\
		.functions = (unsigned long)lucos_functions_start,	\
		.functions_end = (unsigned long)lucos_functions_end,	\
		.expected = (unsigned long)lucos_expected_start,	\
		.expected_end = (unsigned long)lucos_expected_end,	\
		.dependencies = (unsigned long)lucos_dependencies_start, \
		.dependencies_end = (unsigned long)lucos_dependencies_end, \
		.kept = (unsigned long)lucos_kept_start,		\
		.kept_end = (unsigned long)lucos_kept_end,		\
		.values = (unsigned long)lucos_values_start,		\
		.values_end = (unsigned long)lucos_values_end,		\
		.twins = (unsigned long)lucos_twins_start,		\
		.twins_end = (unsigned long)lucos_twins_end,		\
		.versions = (unsigned long)lucos_versions_start,	\
		.versions_end = (unsigned long)lucos_versions_end,	\
		.shared = (unsigned long)lucos_shared_start,		\
		.shared_end = (unsigned long)lucos_shared_end,		\
	};								\
									\
	static int __init lucos_patch_init(void)			\
	{								\
		lucos_this_patch.check_only = lucos_check;		\
		lucos_this_patch.join = lucos_join;			\
		lucos_this_patch.on_apply = (unsigned long)lucos_on_apply; \
		lucos_this_patch.on_rollback =				\
			(unsigned long)lucos_on_rollback;		\
		lucos_this_patch.modules = (unsigned long)lucos_modules; \
		return lucos_patch_load(&lucos_this_patch, THIS_MODULE); \
	}								\
									\
	static void __exit lucos_patch_exit(void)			\
	{								\
		lucos_patch_unload(&lucos_this_patch);			\
	}								\
									\
	module_init(lucos_patch_init);					\
	module_exit(lucos_patch_exit);					\
	MODULE_LICENSE("GPL");						\
	MODULE_DESCRIPTION(patch_description);				\
	MODULE_INFO(lucos, patch_name)

#endif
