#!/bin/sh
# The compiler calls this in place of the assembler; its text is the last argument. A jump to a
# function gets the form that reaches everything, also where the function is near.
for text; do :; done
case $text in
*.s)
	LC_ALL=C sed -E -i -e '/^\tj[er]?cxz\t/b' \
		-e 's/^\t(j[a-z]+)\t([A-Za-z_][A-Za-z0-9_.$]*)$/\t{disp32} \1\t\2/' "$text" || exit
	;;
esac
exec as "$@"
