# The kernel's own makefile for a folder, but for one thing: how a file would be compiled is noted
# instead, in a file for each folder (make writes it without a shell). What is linked from the objects
# is left out.
include $(srctree)/scripts/Makefile.build

note = $(file >>$(LUCOS_COMMANDS)/$(subst /,+,$(obj)),$@ $< $(1))
rule_cc_o_c = $(call note,$(c_flags))
rule_as_o_S = $(call note,$(a_flags))
cmd_ar = :
cmd_ar_builtin = :
cmd_ld_multi_m = :
