//! What functions of the kernel are known to do with what they are given.
//!
//! Only what the code itself does not tell: functions that are too deep to be followed, or written in
//! assembly. They are known to keep none of their arguments beyond the call, but for those named.

use super::state::Effect;

/// Functions that keep nothing. A `*` at the end stands for any rest.
const KEEP_NOTHING: &[&str] = &[
    // Messages: a text is formatted before the call returns.
    "_printk*",
    "printk*",
    "vprintk*",
    "_dev_*",
    "dev_printk*",
    "dev_err_probe",
    "netdev_emerg",
    "netdev_alert",
    "netdev_crit",
    "netdev_err",
    "netdev_warn",
    "netdev_notice",
    "netdev_info",
    "netdev_printk",
    "__dynamic_pr_debug",
    "__dynamic_dev_dbg",
    "__dynamic_netdev_dbg",
    "___ratelimit",
    "print_hex_dump*",
    "seq_*printf",
    "seq_put*",
    "seq_write",
    "seq_escape*",
    "sysfs_emit*",
    "audit_log*",
    // Warnings and checks of the compiler.
    "__warn_printk",
    "warn_slowpath_fmt",
    "panic",
    "__ubsan_handle_*",
    "__fortify_*",
    "fortify_panic",
    "__stack_chk_fail",
    "__might_*",
    "__rcu_read_*",
    // Texts.
    "snprintf",
    "scnprintf",
    "sprintf",
    "vsnprintf",
    "vscnprintf",
    "vsprintf",
    "kasprintf",
    "kvasprintf",
    "sscanf",
    "vsscanf",
    "kstrto*",
    "kstrdup*",
    "kstrndup",
    "simple_strto*",
    "strlen",
    "strnlen",
    "strcmp",
    "strncmp",
    "strcasecmp",
    "strncasecmp",
    "strlcpy",
    "strscpy*",
    "sized_strscpy",
    "strlcat",
    "strspn",
    "strcspn",
    "match_string",
    "__sysfs_match_string",
    "sysfs_streq",
    "memcmp",
    "bcmp",
    "memchr_inv",
    "crc32*",
    // Copies from and to programs.
    "_copy_to_user",
    "_copy_from_user",
    "copy_user_*",
    "rep_movs_alternative",
    "__put_user_*",
    "__get_user_*",
    "simple_read_from_buffer",
    "nla_put*",
    // Locks, which name their waiters only while these wait.
    "mutex_*lock*",
    "_raw_spin_*",
    "_raw_read_*",
    "_raw_write_*",
    "queued_spin_*",
    "queued_read_*",
    "queued_write_*",
    "native_queued_spin_*",
    "down",
    "down_*",
    "up",
    "up_read",
    "up_write",
    "rt_mutex_*lock*",
    "__SCT__might_resched",
    "__SCT__cond_resched",
    "__SCT__preempt_schedule*",
    "preempt_schedule*",
    "__cond_resched*",
    "schedule",
    "schedule_timeout*",
    // Memory that is given back.
    "kfree*",
    "kvfree*",
    "vfree",
    // Static keys: the kernel forgets those of a module that goes.
    "static_key_*",
    "__static_key_*",
    // Names of modules and algorithms that are looked for.
    "__request_module",
    "request_firmware",
    "request_firmware_direct",
    "request_firmware_into_buf",
    "request_partial_firmware_into_buf",
    "crypto_alloc_*",
    "crypto_has_*",
    "filp_open",
    "kern_path",
];

/// Functions that copy what their second argument points to to where the first one does, and return
/// the first.
const COPY: &[&str] = &["memcpy", "memmove", "__memcpy", "__memmove", "memcpy_orig"];

/// Functions that return a place in what their first argument points to, or that argument.
const RETURN_FIRST: &[&str] = &[
    "memset",
    "__memset",
    "memchr",
    "memscan",
    "strchr",
    "strchrnul",
    "strrchr",
    "strnchr",
    "strstr",
    "strnstr",
    "strpbrk",
    "strim",
    "skip_spaces",
    "strcpy",
    "strncpy",
    "strcat",
    "strncat",
    "strsep",
];

/// Functions that keep these arguments, counted from 0, and no others: the others are texts that
/// they copy or format.
const KEEP_SOME: &[(&str, &[usize])] = &[
    ("kmem_cache_create", &[4]),
    ("kmem_cache_create_usercopy", &[6]),
    ("kthread_create_on_node", &[0, 1]),
    ("kthread_create_on_cpu", &[0, 1]),
    ("proc_create", &[3]),
    ("proc_create_data", &[3, 4]),
    ("proc_mkdir", &[1]),
    ("debugfs_create_file", &[3, 4]),
    ("debugfs_create_dir", &[1]),
    ("device_create", &[0, 1, 3]),
    ("dev_set_name", &[0]),
    ("kobject_set_name", &[0]),
    ("alloc_workqueue", &[]),
    ("kmemdup_nul", &[]),
];

/// Functions that copy what their first argument points to into memory of their own.
const DUPLICATE: &[&str] = &["kmemdup", "kmemdup_noprof", "kvmemdup"];

/// What a function of a name is known to do.
pub(super) fn effect(name: &str) -> Option<Effect> {
    if COPY.contains(&name) {
        return Some(Effect { copies: true, ..Effect::returning_first() });
    }
    if RETURN_FIRST.contains(&name) {
        return Some(Effect::returning_first());
    }
    if DUPLICATE.contains(&name) {
        let mut effect = Effect::default();
        effect.behind[0] = true;
        return Some(effect);
    }
    if let Some((_, kept)) = KEEP_SOME.iter().find(|(known, _)| *known == name) {
        let mut effect = Effect::default();
        for argument in *kept {
            effect.keep(*argument);
        }
        return Some(effect);
    }
    KEEP_NOTHING.iter().any(|pattern| fits(name, pattern)).then(Effect::default)
}

/// Whether a name fits a pattern with `*` for anything.
fn fits(name: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(left) = name.strip_prefix(start) else { return false };
    rest.is_empty() || (0..=left.len()).any(|at| left.get(at..).is_some_and(|end| fits(end, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        assert!(fits("seq_printf", "seq_*printf") && fits("seq_vprintf", "seq_*printf"));
        assert!(!fits("seq_printf_more", "seq_*printf") && !fits("up_reader", "up_read"));
        assert!(fits("mutex_lock_nested", "mutex_*lock*") && fits("mutex_trylock", "mutex_*lock*"));
        assert!(!fits("mutex_init", "mutex_*lock*"));
    }

    #[test]
    fn a_thread_keeps_its_function_and_not_its_name() {
        let effect = effect("kthread_create_on_node").unwrap();
        assert_eq!(effect.keeps, [true, true, false, false, false, false]);
        assert!(super::effect("request_threaded_irq").is_none());
        assert!(super::effect("memcpy").unwrap().copies);
    }
}
