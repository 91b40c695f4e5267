//! Machines whose firmware reports memory of every kind, in every shape.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use lucos_tests::{MadeUpRange, Run, equal, self_test_with_map, stub_with_map};

const SYSTEM: &str = "tests/on-target/guest-suite/system.toml";
const LIMIT: Duration = Duration::from_secs(120);

const RAM: u32 = 1;
const RESERVED: u32 = 2;
const RECLAIMABLE: u32 = 3;
const NVS: u32 = 4;
const BAD: u32 = 5;
const PERSISTENT: u32 = 7;

const MIB: u64 = 1 << 20;
/// RAM of the machine, all below 4 GiB; its firmware keeps tables behind `TOP`.
const END: u64 = 512 * MIB;
const TOP: u64 = END - 0x2_0000;

/// Makes up a map.
type MadeUp = fn() -> Vec<MadeUpRange>;

/// All tests of this file.
pub fn trials() -> Vec<Trial> {
    let maps: [(&str, MadeUp); 5] = [
        ("nvs_at_the_end", nvs_at_the_end),
        ("every_kind", every_kind),
        ("odd_sizes", odd_sizes),
        ("above_4_gib", above_4_gib),
        ("unordered", unordered),
    ];
    let mut trials: Vec<_> = maps
        .into_iter()
        .map(|(name, map)| {
            Trial::test(format!("memory_maps::kernel::{name}"), move || {
                self_test_with_map(SYSTEM, &map(), LIMIT)
            })
        })
        .collect();
    for series in ["debian-6.1", "debian-6.12"] {
        trials.push(Trial::test(format!("memory_maps::{series}"), move || guest(series)));
    }
    trials
}

/// What lies below 1 MiB and in the gap for devices, as QEMU's firmware has it.
fn pc(above: &[MadeUpRange]) -> Vec<MadeUpRange> {
    let mut map =
        vec![(0, 0x9_fc00, RAM), (0x9_fc00, 0x400, RESERVED), (0xf_0000, 0x1_0000, RESERVED)];
    map.extend(above);
    map.push((0xb000_0000, 0x1000_0000, RESERVED));
    map.push((0xfeff_c000, 0x4000, RESERVED));
    map
}

/// As PCs and OVMF have it.
fn nvs_at_the_end() -> Vec<MadeUpRange> {
    pc(&[(MIB, TOP - MIB, RAM), (TOP, END - TOP, NVS)])
}

fn every_kind() -> Vec<MadeUpRange> {
    let middle = 300 * MIB;
    pc(&[
        (MIB, middle - MIB, RAM),
        (middle, 0x1000, RECLAIMABLE),
        (middle + 0x1000, 0x1000, NVS),
        (middle + 0x2000, 0x1000, BAD),
        (middle + 0x3000, 0x1000, RESERVED),
        (middle + 0x4000, 0x1000, PERSISTENT),
        // A hole follows, and kinds that no specification knows.
        (middle + 0x6000, 0x1000, 0),
        (middle + 0x7000, 0x1000, u32::MAX),
        (middle + 0x8000, TOP - middle - 0x8000, RAM),
        (TOP, 0x1_8000, RECLAIMABLE),
        (END - 0x8000, 0x8000, NVS),
    ])
}

fn odd_sizes() -> Vec<MadeUpRange> {
    let middle = 200 * MIB;
    pc(&[
        (MIB, middle - MIB - 0x123, RAM),
        (middle - 0x123, 0x10, NVS),
        (middle - 0x113, 0x13, RECLAIMABLE),
        (middle + 0x801, 0x7fe, RAM),
        (middle + 0x1001, 200 * MIB, RAM),
        (middle + 200 * MIB + 0x1001, 1, BAD),
        (middle + 200 * MIB + 0x1002, 0, NVS),
        (middle + 200 * MIB + 0x1fff, TOP - middle - 200 * MIB - 0x2777, RAM),
    ])
}

/// Kinds that lie so far up that the machine has nothing there.
fn above_4_gib() -> Vec<MadeUpRange> {
    let mut map = pc(&[(MIB, TOP - MIB, RAM), (TOP, END - TOP, RESERVED)]);
    map.extend([
        (1 << 32, MIB, NVS),
        ((1 << 32) + MIB, MIB, PERSISTENT),
        (0xfd_0000_0000, 0x3_0000_0000, RESERVED),
        (u64::MAX - 0xffff, u64::MAX, RESERVED),
    ]);
    map
}

/// Overlaps and disorder; the more reserved kind wins.
fn unordered() -> Vec<MadeUpRange> {
    let mut map = pc(&[
        (MIB, TOP - MIB, RAM),
        (TOP, END - TOP, RESERVED),
        (100 * MIB, 0x3000, NVS),
        (100 * MIB + 0x1000, 0x3000, BAD),
        (100 * MIB - 0x1000, 0x8000, RECLAIMABLE),
        (MIB, 300 * MIB, RAM),
    ]);
    map.reverse();
    map
}

/// Linux sees the map, and LUCOS's parts in it.
fn guest(series: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let stub = folder.path().join("boot");
    stub_with_map(&stub, &nvs_at_the_end())?;
    let run = Run::lucos().guest(series).qemu(["-m", "512"]);
    run.qemu(["-kernel".as_ref(), stub.as_os_str()])
        .keep(folder)
        .exec("grep -c 'ACPI Non-volatile Storage' /proc/iomem; lucos status >/dev/null; echo $?")
        .and_then(|end| end.success())
        .and_then(|text| equal("output", text.as_str(), "2\n0\n"))
}
