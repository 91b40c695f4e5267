//! What a guest cannot see and cannot do.

use libtest_mimic::Failed;
use lucos_guest_interface::INTERFACE_VERSION;
use lucos_guest_interface::detection::{
    self, FEATURE_DATA_VERSIONS, FEATURE_FUNCTIONS, FEATURE_GROUPS, FEATURE_VALUES, FEATURE_VMMCALL,
};
use lucos_tests::{COMPLAINTS, Report, SharedBoot, equal, number_at};

/// Reads leaves and registers as the driver for them shows them: bytes in memory order.
const READERS: &str = "
modprobe -a cpuid msr || exit 1
leaf() { dd if=/dev/cpu/0/cpuid bs=16 count=1 iflag=skip_bytes skip=$(($1)) 2>/dev/null | xxd -p; }
register() { dd if=/dev/cpu/0/msr bs=8 count=1 iflag=skip_bytes skip=$(($1)) 2>/dev/null | xxd -p; }
";

/// Defines `complaints` for the guest's shell: what the kernel complains about.
pub fn complaints() -> String {
    format!("complaints() {{ {COMPLAINTS} | sed 's/^/complaint /'; }}")
}

/// CPUID of leaf 1, ECX: a hypervisor is below. QEMU's TCG says so of itself.
const HYPERVISOR: u32 = 1 << 31;
/// CPUID of leaf 8000_0001, ECX: the processor has AMD-V.
const SVM: u32 = 1 << 2;
/// CPUID of leaf 1, ECX: the processor has VT-x.
const VMX: u32 = 1 << 5;
/// EFER: AMD-V is on.
const EFER_SVME: u64 = 1 << 12;
/// EFER: system calls, long mode chosen and active, no-execute pages.
const EFER_LINUX: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;
/// VM_CR: AMD-V is off, and that is locked.
const VM_CR_OFF: u64 = 1 << 4 | 1 << 3;

/// Adds the tests to a boot of a guest under LUCOS.
pub fn add(shared: SharedBoot) -> SharedBoot {
    shared
        .test("no_sleep_states", SLEEP, sleep)
        .test("cpuid", format!("{READERS}{CPUID}"), cpuid)
        .test("virtualization_registers", format!("{READERS}{REGISTERS}"), registers)
        .test("kvm_amd_does_not_load", format!("{}\n{KVM}", complaints()), kvm)
        .test("hidden_memory", format!("{}\n{HIDDEN}", complaints()), hidden)
}

/// The same machine without LUCOS, to show that there is something to hide.
pub fn add_control(shared: SharedBoot) -> SharedBoot {
    let script = format!("{READERS}{CPUID}{SLEEP}modprobe kvm_amd; echo kvm $?");
    shared.test("what_lucos_hides_is_there", script, |report| {
        machine_cpuid(report)?;
        // QEMU's TCG has no register that a read of would fault.
        equal("register", u64::from_le_bytes(bytes(report, "register")?), 0)?;
        report.expect("S3", 1)?;
        report.expect("S4", 1)?;
        report.expect("kvm", 0)
    })
}

const SLEEP: &str = "
echo S3 $(grep -c -a _S3_ /sys/firmware/acpi/tables/DSDT)
echo S4 $(grep -c -a _S4_ /sys/firmware/acpi/tables/DSDT)
echo S5 $(grep -c -a _S5_ /sys/firmware/acpi/tables/DSDT)
dmesg | sed -n 's/.*ACPI: PM: (supports \\(.*\\))/states \\1/p'
echo mem $(cat /sys/power/mem_sleep)
";

fn sleep(report: &Report) -> Result<(), Failed> {
    report.expect("states", "S0 S5")?;
    report.expect("S3", 0)?;
    report.expect("S4", 0)?;
    // Powering off works by it.
    report.expect("S5", 1)?;
    report.expect("mem", "[s2idle]")
}

const CPUID: &str = "
for leaf in 1 0x40000000 0x40000001 0x80000001 0x8000000a; do echo leaf.$leaf $(leaf $leaf); done
echo register $(register 0x4000004c)
echo beside $(register 0x4000004d)
";

/// CPUID is the machine's own: the tests of the bare machine expect the same.
fn cpuid(report: &Report) -> Result<(), Failed> {
    machine_cpuid(report)?;
    let kinds = FEATURE_FUNCTIONS | FEATURE_VALUES | FEATURE_GROUPS | FEATURE_DATA_VERSIONS;
    let value = detection::value(INTERFACE_VERSION, kinds | FEATURE_VMMCALL);
    equal("register", u64::from_le_bytes(bytes(report, "register")?), value)?;
    report.expect("beside", "")
}

/// What the leaves of [`CPUID`] are on the machine of the tests.
fn machine_cpuid(report: &Report) -> Result<(), Failed> {
    let [_, _, ecx, _] = leaf(report, "leaf.1")?;
    equal("hypervisor bit and VMX", ecx & (HYPERVISOR | VMX), HYPERVISOR)?;
    let [highest, name @ ..] = leaf(report, "leaf.0x40000000")?;
    equal("highest leaf", highest, 0x4000_0001)?;
    equal("name", name.map(u32::to_le_bytes).concat(), b"TCGTCGTCGTCG".to_vec())?;
    equal("leaf behind", leaf(report, "leaf.0x40000001")?, [0; 4])?;
    let [_, _, ecx, _] = leaf(report, "leaf.0x80000001")?;
    equal("SVM", ecx & SVM, SVM)?;
    let [revision, spaces, ..] = leaf(report, "leaf.0x8000000a")?;
    equal("AMD-V", (revision, spaces), (1, 16))
}

/// EAX, EBX, ECX and EDX of a leaf.
fn leaf(report: &Report, name: &str) -> Result<[u32; 4], Failed> {
    let bytes: [u8; 16] = bytes(report, name)?;
    let mut registers = [0; 4];
    for (register, word) in registers.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *register = u32::from_le_bytes(*word);
    }
    Ok(registers)
}

/// A value in hexadecimal digits.
fn bytes<const N: usize>(report: &Report, name: &str) -> Result<[u8; N], Failed> {
    let text = report.value(name)?;
    let wrong = || Failed::from(format!("{name} is {text:?}, not {N} bytes"));
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return Err(wrong());
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        let digits = text.get(2 * index..2 * index + 2).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

/// EFER's number is a multiple of eight, which is how `dd` finds it for writing. Its value is
/// written with AMD-V switched on.
const REGISTERS: &str = "
efer=0xc0000080
echo efer $(register $efer)
register $efer | xxd -r -p >/tmp/efer
printf '\\035' | dd of=/tmp/efer bs=1 seek=1 conv=notrunc 2>/dev/null
dd if=/tmp/efer of=/dev/cpu/0/msr bs=8 seek=$((efer / 8)) conv=notrunc 2>/dev/null; echo written $?
echo then $(register $efer)
echo vm_cr $(register 0xc0010114)
for number in 0xc0010117 0xc0010118; do
    dd if=/dev/cpu/0/msr bs=8 count=1 iflag=skip_bytes skip=$((number)) >/dev/null 2>&1; echo read $?
done
";

fn registers(report: &Report) -> Result<(), Failed> {
    let efer = u64::from_le_bytes(bytes(report, "efer")?);
    equal("EFER", efer & (EFER_LINUX | EFER_SVME), EFER_LINUX)?;
    report.expect("written", 1)?;
    equal("EFER after a write", u64::from_le_bytes(bytes(report, "then")?), efer)?;
    equal("VM_CR", u64::from_le_bytes(bytes(report, "vm_cr")?), VM_CR_OFF)?;
    // VM_HSAVE_PA, which Linux clears when it goes down, and SVM_KEY.
    equal("statuses", report.all("read").collect::<Vec<_>>(), vec!["0", "1"])
}

const KVM: &str = "
dmesg -c >/dev/null
modprobe kvm_amd; echo status $?
echo loaded $(grep -c '^kvm_amd ' /proc/modules)
echo device $(ls /dev/kvm 2>/dev/null)
complaints
lucos status >/dev/null; echo lucos $?
";

fn kvm(report: &Report) -> Result<(), Failed> {
    report.expect("status", 1)?;
    report.expect("loaded", 0)?;
    report.expect("device", "")?;
    report.expect("lucos", 0)?;
    quiet(report)
}

/// The kernel complained about nothing.
pub fn quiet(report: &Report) -> Result<(), Failed> {
    let complaints: Vec<_> = report.all("complaint").collect();
    equal("complaints", complaints, Vec::new())
}

const HIDDEN: &str = "
dmesg -c >/dev/null
state=$(lucos status --json); echo before $state
field() { echo $state | sed -n \"s/.*\\\"$1\\\":\\([0-9]*\\).*/\\1/p\"; }
start=$(field region_start) size=$(field region_size)
places=\"$start $((start + 4096)) $((start + size / 2)) $((start + size - 4096))\"
for place in $places; do echo first $(devmem $place 32); done
echo wide $(devmem $((start + 8)) 64)
for place in $places; do devmem $place 32 0x12345678; echo write $?; done
for place in $places; do echo second $(devmem $place 32); done
echo after $(lucos status --json)
echo traps $(dmesg | grep -c 'traps: devmem.* general protection fault ip:')
complaints
";

fn hidden(report: &Report) -> Result<(), Failed> {
    for name in ["first", "second"] {
        equal(name, report.all(name).collect::<Vec<_>>(), vec!["0xFFFFFFFF"; 4])?;
    }
    report.expect("wide", "0xFFFFFFFFFFFFFFFF")?;
    // Killed by SIGSEGV.
    equal("writers", report.all("write").collect::<Vec<_>>(), vec!["139"; 4])?;
    let count = |name| number_at(&report.json(name)?, "/hidden_writes");
    equal("counted", count("after")?, count("before")? + 4)?;
    // The fault that the kernel reports is the writer's own.
    report.expect("traps", 4)?;
    quiet(report)
}
