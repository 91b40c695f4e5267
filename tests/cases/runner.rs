//! The runner itself, with guests that need no LUCOS.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Run, equal};

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("runner::status_and_streams", status_and_streams),
        Trial::test("runner::output_is_byte_exact", output_is_byte_exact),
        Trial::test("runner::background_does_not_hold_it", background),
        Trial::test("runner::timeout", timeout),
        Trial::test("runner::panic", panic),
        Trial::test("runner::power_off_is_no_end", power_off),
        Trial::test("runner::qemu_refuses", qemu_refuses),
        Trial::test("runner::version_is_gone", version_is_gone),
        Trial::test("runner::added_files", added_files),
        Trial::test("runner::foreign_initramfs", foreign_initramfs),
        Trial::test("runner::disk_and_network", disk_and_network),
    ];
    for series in ["debian-6.1", "debian-6.12"] {
        for cpus in [1, 2, 4] {
            let name = format!("bare::{series}::{cpus}_processors");
            trials.push(Trial::test(name, move || boots(series, cpus)));
        }
    }
    trials
}

fn boots(series: &str, cpus: u32) -> Result<(), Failed> {
    let command = "uname -r; nproc; cat /proc/sys/kernel/tainted";
    Run::bare().guest(series).cpus(cpus).check(command, |end| {
        equal("status", end.status, Some(0))?;
        let text = String::from_utf8_lossy(&end.stdout);
        let number = series.trim_start_matches("debian-");
        let mut lines = text.lines();
        let release = lines.next().unwrap_or("");
        if !release.starts_with(&format!("{number}.")) || !release.ends_with("-cloud-amd64") {
            return Err(format!("the kernel is {release}").into());
        }
        equal("processors", lines.next(), Some(cpus.to_string().as_str()))?;
        equal("taint", lines.next(), Some("0"))
    })
}

fn status_and_streams() -> Result<(), Failed> {
    Run::bare().check("echo out; echo err >&2; exit 42", |end| {
        equal("status", end.status, Some(42))?;
        equal("stdout", end.stdout.as_slice(), b"out\n")?;
        equal("end of stderr", end.errors().ends_with("err\n"), true)?;
        equal("log in stderr", end.errors().contains("Linux version"), false)?;
        equal("kernel in log", end.log.contains("Linux version"), true)
    })
}

/// Every byte value, more than a pipe or a port can hold, and no line end at the end.
fn output_is_byte_exact() -> Result<(), Failed> {
    let command = "i=0; while [ $i -lt 256 ]; do printf \"\\\\$(printf %03o $i)\"; i=$((i+1)); done >/tmp/all; \
        for n in 1 2 3 4 5 6 7 8; do cat /tmp/all; done >/tmp/2k; \
        for n in 1 2 3 4 5 6 7 8; do cat /tmp/2k /tmp/2k /tmp/2k /tmp/2k /tmp/2k; done; printf end";
    let all: Vec<u8> = (0..=255).collect();
    let mut expected = all.repeat(8 * 8 * 5);
    expected.extend(b"end");
    Run::bare().check(command, |end| {
        equal("status", end.status, Some(0))?;
        equal("length", end.stdout.len(), expected.len())?;
        let difference = end.stdout.iter().zip(&expected).position(|(a, b)| a != b);
        equal("first difference", difference, None)
    })
}

fn background() -> Result<(), Failed> {
    Run::bare().exec("sleep 1000 & setsid sleep 1000 & echo started")?.printed("started\n")
}

fn timeout() -> Result<(), Failed> {
    Run::bare().until_timeout(20).check("echo begun; sleep 1000", |end| {
        equal("status", end.status, Some(124))?;
        equal("stdout", end.stdout.as_slice(), b"begun\n")?;
        equal("last lines", end.errors().contains("guest| "), true)
    })
}

fn panic() -> Result<(), Failed> {
    Run::bare().check("echo c >/proc/sysrq-trigger", |end| {
        equal("status", end.status, Some(121))?;
        equal("last lines", end.errors().contains("end Kernel panic"), true)
    })
}

fn power_off() -> Result<(), Failed> {
    Run::bare().check("poweroff -f", |end| equal("status", end.status, Some(125)))
}

fn qemu_refuses() -> Result<(), Failed> {
    Run::bare().argument("--qemu-arg").argument("-no-such-option").check("true", |end| {
        equal("status", end.status, Some(123))?;
        equal("reason", end.errors().contains("-no-such-option"), true)
    })
}

fn version_is_gone() -> Result<(), Failed> {
    Run::bare().version("6.1.0-1").check("true", |end| {
        equal("status", end.status, Some(123))?;
        equal("alternatives", end.errors().contains("; it has 6.1.0-"), true)
    })
}

fn added_files() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("program");
    std::fs::write(&program, "#!/bin/sh\necho added\n")?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode)?;
    std::fs::write(folder.path().join("data"), "text")?;
    Run::bare()
        .argument("--add")
        .argument(format!("{}:/opt/tools", folder.path().display()))
        .argument("--add")
        .argument(&program)
        .exec("/opt/tools/program; /program; cat /opt/tools/data; [ ! -x /opt/tools/data ]")?
        .printed("added\nadded\ntext")
}

/// An initramfs that has nothing of ours: an empty archive.
fn foreign_initramfs() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let initrd = folder.path().join("initrd");
    std::fs::write(&initrd, [0_u8; 4])?;
    let text = Run::bare()
        .argument("--initrd")
        .argument(&initrd)
        .exec("/lucos/bin/busybox nproc; echo *")?
        .success()?;
    equal("processors", text.lines().next(), Some("2"))
}

fn disk_and_network() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("disk");
    let mut content = vec![0_u8; 1 << 20];
    if let Some(start) = content.get_mut(..5) {
        start.copy_from_slice(b"hello");
    }
    std::fs::write(&disk, content)?;
    Run::bare()
        .argument("--disk")
        .argument(&disk)
        .argument("--net")
        .exec(
            "head -c 5 /dev/vda; echo; printf world | dd of=/dev/vda bs=1 seek=512 conv=fsync 2>/dev/null; \
             ping -c 1 -W 5 10.0.2.2 >/dev/null && echo reached",
        )?
        .printed("hello\nreached\n")?;
    let after = std::fs::read(&disk)?;
    equal("written", after.get(512..517), Some(&b"world"[..]))
}
