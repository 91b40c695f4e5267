//! What a module does when it is loaded, before anybody hears of the patch: it gives each copy of a
//! key the state of its original, and fills in what the kernel fills in during boot.

use std::fmt::Write;

use lucos_object_diff::{BootShifts, CopiedKey};

/// Writes the function `prepare`, which returns 0 or an error number.
pub(crate) fn write(text: &mut String, keys: &[CopiedKey], shifts: &[BootShifts]) {
    let mut steps = String::new();
    if !keys.is_empty() {
        text.push_str("#include <linux/jump_label.h>\n");
    }
    for (number, CopiedKey { original, copy }) in keys.iter().enumerate() {
        let _ = write!(
            text,
            "extern struct static_key original_{number} asm(\"{original}\");\n\
             extern struct static_key copy_{number} asm(\"{copy}\");\n"
        );
        let _ = write!(
            steps,
            "\tif (static_key_enabled(&original_{number}))\n\
             \t\tstatic_key_enable(&copy_{number});\n\
             \telse\n\
             \t\tstatic_key_disable(&copy_{number});\n"
        );
    }
    if !shifts.is_empty() {
        text.push_str(FILL_SHIFTS);
    }
    for (number, BootShifts { symbol, count }) in shifts.iter().enumerate() {
        let _ = writeln!(text, "extern const struct shift shifts_{number}[] asm(\"{symbol}\");");
        let _ =
            write!(steps, "\tif (!fill_shifts(shifts_{number}, {count}))\n\t\treturn -ENOEXEC;\n");
    }
    let _ = write!(text, "static int prepare(void)\n{{\n{steps}\treturn 0;\n}}\n");
}

/// The module's code is read-only by then; the kernel's own function writes to it.
const FILL_SHIFTS: &str = "\
#include <linux/errno.h>
struct shift {
\tunsigned char *site;
\tconst unsigned int *variable;
};
extern void *poke(void *site, const void *bytes, size_t size)
\tasm(\"lucos.select.vmlinux.0.text_poke_copy\");
static bool fill_shifts(const struct shift *shift, unsigned int count)
{
\tfor (; count; count--, shift++) {
\t\tunsigned char bits = *shift->variable;

\t\tif (*shift->variable > 31 || !poke(shift->site, &bits, 1))
\t\t\treturn false;
\t}
\treturn true;
}
";

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn keys_and_shifts_are_set() {
        let (original, copy) =
            ("lucos.select.vmlinux.0.key".to_owned(), "lucos_key_key.1".to_owned());
        let shifts = BootShifts { symbol: "lucos_shifts.1".to_owned(), count: 3 };
        let mut text = String::new();
        write(&mut text, &[CopiedKey { original, copy }], &[shifts]);
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in {text}"));
        assert!(at("asm(\"lucos.select.vmlinux.0.key\")") < at("static_key_enabled(&original_0)"));
        assert!(at("static int prepare(void)") < at("static_key_enable(&copy_0)"));
        assert!(at("asm(\"lucos_shifts.1\")") < at("fill_shifts(shifts_0, 3)"));
        assert!(at("fill_shifts(shifts_0, 3)") < at("\treturn 0;"));
    }

    /// As the kernel's header has it, without the code that follows a key.
    const JUMP_LABEL: &str = "
        struct static_key { int enabled, padding; long type; };
        static inline int static_key_enabled(struct static_key *key) { return key->enabled > 0; }
        static inline void static_key_enable(struct static_key *key) { key->enabled = 1; }
        static inline void static_key_disable(struct static_key *key) { key->enabled = 0; }
    ";

    /// Compiles the function, and runs it for each state of a key and each that its copy begins in:
    /// the exit status is the number of the first case in which the copy is another one afterwards.
    #[test]
    fn a_copy_has_the_state_of_its_key() {
        let (original, copy) = ("lucos.select.vmlinux.0.key", "lucos_key_key.1");
        let mut text = String::new();
        write(&mut text, &[CopiedKey { original: original.into(), copy: copy.into() }], &[]);
        let main = "
            struct static_key original asm(\"ORIGINAL\"), copy asm(\"COPY\");
            int main(void) {
                for (int number = 0; number < 6; number++) {
                    int count = number / 2;
                    original.enabled = count;
                    copy.enabled = number & 1;
                    if (prepare() || copy.enabled != !!count || original.enabled != count)
                        return number + 1;
                }
                return 42;
            }";
        let main = main.replace("ORIGINAL", original).replace("COPY", copy);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("linux")).unwrap();
        std::fs::write(path("linux/jump_label.h"), JUMP_LABEL).unwrap();
        std::fs::write(path("main.c"), text + &main).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.arg("-I").arg(folder.path()).arg(path("main.c")).arg("-o").arg(path("main"));
        let output = gcc.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(Command::new(path("main")).status().unwrap().code(), Some(42));
    }
}
