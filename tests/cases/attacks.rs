//! A guest that turns against LUCOS, or only makes use of what the processor has: the outcome is what
//! it would be without LUCOS, or an exception of the guest's own.

use libtest_mimic::{Failed, Trial};
use lucos_tests::{Report, Run, SharedBoot, equal, guest_program, number_at, task_functions};

const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest-modules");
const PROGRAMS: [&str; 3] = ["registers", "breakpoints", "instructions"];

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for series in ["debian-6.1", "debian-6.12"] {
        let tests = SharedBoot::new(format!("attacks::{series}"), move || boot(series))
            .test("registers_that_move_memory_are_kept", KEPT, kept)
            .test("registers_of_a_list_are_written", WRITTEN, written)
            .test("sleep_by_its_port_does_not_come", module("sleep"), sleep)
            .test("address_line_20_stays_on", module("line20"), |report| report.expect("line20", 1))
            .test("instructions_carried_out_can_be_stepped", module("steps"), steps)
            .test("control_registers_keep_reserved_bits", module("cr3 cr4"), refused)
            .test("caches_are_not_thrown_away", module("invd"), |report| report.expect("invd", 1))
            .test("breakpoints_of_a_program_are_its_own", BREAKPOINTS, breakpoints)
            .test("virtualization_stays_off", tries("virtualization"), |report| held(report, 54))
            .test("the_local_apic_is_not_moved", tries("apic"), |report| held(report, 7))
            .test("page_tables_lead_lucos_nowhere", tries("walks"), |report| held(report, 40))
            .test("lucos_writes_to_the_guests_memory_only", buffers(), |report| {
                let ends: Vec<_> = report.all("ends").collect();
                equal("ends", ends, vec!["-7 -7 -7"; NO_MEMORY.len() + 2])
            })
            .test("code_of_32_bits_is_answered", COMPAT, |report| {
                report.expect("compat", "0x4f43554c 3 256 3")
            })
            .test("programs_cannot_virtualize", "instructions", programs)
            .test(
                "a_device_over_lucos_memory_changes_nothing",
                format!("{ATTACKS}{DEVICE}"),
                device,
            )
            .test("nothing_was_restarted", "echo status $(lucos status --json)", end);
        // Both end the kernel: by a panic that can be read, and by a reset.
        let attack = |name| format!("echo 1 >/sys/module/attacks/parameters/{name}");
        let tests = match series {
            "debian-6.1" => tests.ending("a_stack_in_lucos_memory_panics", &attack("stack"), 121),
            _ => tests.ending("a_state_that_cannot_be_resets", &attack("state"), 125),
        };
        trials.extend(tests.trials());
    }
    trials
}

fn boot(series: &str) -> Result<Run, Failed> {
    let folder = tempfile::tempdir()?;
    let mut run = Run::of_series(series).argument("--modules").argument(MODULES);
    run = run.qemu(["-no-reboot"]);
    for name in PROGRAMS {
        let program = guest_program(name, folder.path())?;
        run = run.argument("--add").argument(format!("{}:usr/bin/{name}", program.display()));
    }
    let functions = folder.path().join("functions");
    std::fs::write(&functions, task_functions("vmx")?.join(" "))?;
    let add = format!("{}:functions", functions.display());
    Ok(run.argument("--add").argument(add).timeout(300).keep(folder))
}

/// Numbers, and which bits are changed.
const KEPT: &str = "
modprobe msr
registers c0010010:40000 c0010016:1000 c0010017:800 c0010018:1000 c0010019:800 c001001a:800000 \\
    c001001d:800000 c0010020:1000 c0010050:1 c0010058:1 c0010111:20000 c0010112:20000 c0010113:3 \\
    c0010116:1 c0010132:100000 c0010133:100000 c0011004:1 c0011005:1 c0010015:800000000 \\
    c0010015:10 c0010015:1 c0010114:10 c0000080:1000 1b:1000 4000004c:1
";

fn kept(report: &Report) -> Result<(), Failed> {
    let lines: Vec<_> = report.text().lines().collect();
    equal("registers", lines.len(), 25)?;
    let others: Vec<_> = lines.into_iter().filter(|line| !line.ends_with(" kept")).collect();
    equal("registers that are not kept", others, Vec::new())
}

/// Machine-check banks are registers that leave the guest. QEMU's TCG has none of them, and takes
/// them for 0.
const WRITTEN: &str = "
registers c0002000:1 c0002004:1 c0002ff9:1 c0010015:40000 c0010015:2000000 c0010200:1 c0010062:1 \\
    c0011020:400 c0000408:1 277:100000000
registers c0003000:1 40000000:1 12345678:1
";

fn written(report: &Report) -> Result<(), Failed> {
    let verdicts: Vec<_> =
        report.text().lines().filter_map(|line| line.rsplit(' ').next()).collect();
    equal("registers", verdicts, [vec!["written"; 10], vec!["missing"; 3]].concat())
}

/// S3 of this machine has the type 1; S5 has the type 0, and ends every test.
fn sleep(report: &Report) -> Result<(), Failed> {
    // The type is written; going to sleep is not.
    report.expect("sleep", "0x400 0x800 0xc00")
}

/// Reads parameters of the module.
fn module(parameters: &str) -> String {
    format!(
        "[ -e /sys/module/instructions ] || insmod /lib/lucos/modules/instructions.ko || exit 1
        for name in {parameters}; do echo $name $(cat /sys/module/instructions/parameters/$name); done"
    )
}

fn steps(report: &Report) -> Result<(), Failed> {
    // Behind NOP, RDMSR, MOV, VMMCALL, NOP, PUSHFQ, ANDQ, POPFQ.
    report.expect("steps", "1 3 6 9 10 11 19 20")
}

fn refused(report: &Report) -> Result<(), Failed> {
    report.expect("cr3", 1)?;
    report.expect("cr4", 1)
}

/// Code of LUCOS lies at addresses of ring 3; a program may have the same.
const BREAKPOINTS: &str = "
set -- $(cat /functions)
echo functions $#
chmod 755 /usr/bin/breakpoints
breakpoints \"$@\"
";

fn breakpoints(report: &Report) -> Result<(), Failed> {
    let functions: u64 = report.number("functions")?;
    equal("there are functions", functions > 100, true)?;
    report.expect("executed", functions.div_ceil(4) * 3)?;
    report.expect("hits", 0)
}

/// Has the module `attacks` try a kind.
fn tries(kind: &str) -> String {
    format!("{ATTACKS}echo tries $(cat /sys/module/attacks/parameters/{kind})")
}

/// Loads that module. `region` is the address of LUCOS's memory.
pub const ATTACKS: &str = r#"
region=$(lucos status --json | sed 's/.*"region_start": *\([0-9]*\).*/\1/')
[ -e /sys/module/attacks ] || insmod /lib/lucos/modules/attacks.ko region=$region || exit 1
"#;

/// None of the tries got through.
fn held(report: &Report, tries: u32) -> Result<(), Failed> {
    report.expect("tries", format!("0 of {tries} (0x0)"))
}

/// Where LUCOS must neither read nor write for the guest: VGA, configuration space, I/O APIC, HPET,
/// local APIC, a hole.
const NO_MEMORY: [u64; 6] =
    [0xa_0000, 0xb000_0000, 0xfec0_0000, 0xfed0_0000, 0xfee0_0000, 0xf000_0000];

fn buffers() -> String {
    let places = NO_MEMORY.map(|place| format!("{place:#x}")).join(" ");
    format!(
        "{ATTACKS}
        cd /sys/module/attacks/parameters
        for place in {places} $region $((region + 0x7f000)); do
            echo $place >at; echo ends $(cat at)
        done"
    )
}

/// The registers of the disk controller are moved over LUCOS's memory, and back.
const DEVICE: &str = r#"
device=/sys/bus/pci/devices/0000:00:1f.2/config
base() { dd if=$device bs=4 skip=9 count=1 2>/dev/null | xxd -p; }
set_base() { echo $1 | xxd -r -p | dd of=$device bs=4 seek=9 conv=notrunc 2>/dev/null; }
before=$(base)
hex=$(printf %08x $region)
set_base ${hex:6:2}${hex:4:2}${hex:2:2}${hex:0:2}
echo moved $(base | grep -c "${hex:2:2}${hex:0:2}$")
echo read $(devmem $region 32)
lucos apply /lib/lucos/patches/version_line.ko >/dev/null && lucos rollback version_line >/dev/null
echo update $?
set_base $before
"#;

fn device(report: &Report) -> Result<(), Failed> {
    report.expect("moved", 1)?;
    report.expect("read", "0xFFFFFFFF")?;
    report.expect("update", 0)
}

/// RDMSR in a 32-bit code segment of the kernel gives LUCOS's register; a hypercall is an invalid
/// opcode there.
const COMPAT: &str = "
insmod /lib/lucos/modules/compat.ko && echo compat $(cat /sys/module/compat/parameters/compat)
";

/// Without LUCOS all are invalid opcodes; under it AMD-V is on.
fn programs(report: &Report) -> Result<(), Failed> {
    for name in ["vmrun", "vmload", "vmsave", "stgi", "clgi", "invlpga"] {
        report.expect(name, "SIGSEGV")?;
    }
    for name in ["vmmcall", "vmcall", "vmxon"] {
        report.expect(name, "SIGILL")?;
    }
    Ok(())
}

fn end(report: &Report) -> Result<(), Failed> {
    equal("restarts", number_at(&report.json("status")?, "/restarts")?, 0)
}
