//! Controls, capability by capability.

use proptest::prelude::*;

use crate::controls::Capabilities;
use crate::{Controls, Mode, MsrMap, may_be_switched_on, window};

/// Those of an emulated Skylake.
const SKYLAKE: Capabilities = Capabilities {
    basic: 0x00d8_1000_0000_002b,
    pin: 0x0000_007f_0000_0016,
    primary: 0xf7f9_fffe_0400_6172,
    secondary: 0x0217_7fff_0000_0000,
    exit: 0x007f_ffff_0003_6dfb,
    entry: 0x0000_ffff_0000_11fb,
    ept: 0x0f01_0633_4141,
};

#[test]
fn a_processor_with_everything_gets_what_is_needed_and_no_more() {
    let offer = SKYLAKE.offer().expect("all is there");
    assert_eq!((offer.revision, offer.huge_pages, offer.single_context), (0x2b, true, true));
    let Controls { pin, primary, secondary, exit, entry } = offer.controls;
    assert_eq!(pin, 0x16 | 1 << 3 | 1 << 5, "interrupts are the guest's");
    assert_eq!(primary, 0x0400_6172 | 1 << 25 | 1 << 28 | 1 << 31);
    assert_eq!(secondary, 1 << 1 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 12 | 1 << 20);
    assert_eq!(exit, 0x0003_6dfb | 1 << 2 | 1 << 9 | 0xf << 18);
    assert_eq!(entry, 0x11fb | 1 << 2 | 1 << 9 | 3 << 14);
    assert!(offer.controls.has_vpid());
}

#[test]
fn each_thing_that_is_missing_has_its_name() {
    type Change = fn(&mut Capabilities);
    let cases: [(&str, Change); 14] = [
        ("EPT", |all| all.secondary &= !(1 << 33)),
        ("EPT", |all| all.secondary = 0),
        ("unrestricted guest", |all| all.secondary &= !(1 << 39)),
        ("EPT of four levels", |all| all.ept &= !(1 << 6)),
        ("EPT in write-back memory", |all| all.ept &= !(1 << 14)),
        ("EPT pages of 2 MiB", |all| all.ept &= !(1 << 16)),
        ("INVEPT", |all| all.ept &= !(1 << 20)),
        ("a type of INVEPT", |all| all.ept &= !(3 << 25)),
        ("controls without defaults", |all| all.basic &= !(1 << 55)),
        ("NMI exiting", |all| all.pin &= !(1 << 35)),
        ("virtual NMIs", |all| all.pin &= !(1 << 37)),
        ("MSR bitmaps", |all| all.primary &= !(1 << 60)),
        ("controls that can be switched", |all| all.primary |= 1 << 15),
        ("switching EFER", |all| all.exit &= !(1 << 53)),
    ];
    for (name, change) in cases {
        let mut all = SKYLAKE;
        change(&mut all);
        assert_eq!(all.offer(), Err(name));
    }
    assert_eq!(Capabilities::default().offer(), Err("EPT"));
}

#[test]
fn what_is_optional_may_be_missing() {
    let change = |ept, secondary: u64| {
        let all = Capabilities { ept, secondary: secondary << 32, ..SKYLAKE };
        all.offer().expect("enough")
    };
    assert!(!change(SKYLAKE.ept & !(1 << 17), 0x82).huge_pages);
    let one_type = change(SKYLAKE.ept & !(1 << 25), 0x82);
    assert!(!one_type.single_context && !one_type.controls.has_vpid());
    assert_eq!(one_type.controls.secondary, 0x82);
}

#[test]
fn the_firmware_decides_whether_it_may_be_switched_on() {
    assert_eq!(may_be_switched_on(5), Some(None));
    assert_eq!(may_be_switched_on(0), Some(Some(5)));
    assert_eq!(may_be_switched_on(0x10_0000), Some(Some(0x10_0005)));
    assert_eq!(may_be_switched_on(1), None, "locked");
    assert_eq!(may_be_switched_on(3), None, "within SMX only");
}

#[test]
fn a_confined_guest_keeps_hardly_any_freedom() {
    let controls = SKYLAKE.offer().expect("all is there").controls;
    let step = Mode::confined(&controls, true);
    assert_eq!((step.pin, step.exceptions), (controls.pin, u32::MAX));
    for bit in [7, 10, 15, 16, 19, 20, 23, 29] {
        assert_ne!(step.primary & 1 << bit, 0, "{bit}");
        assert_eq!(controls.primary & 1 << bit, 0, "{bit}");
    }
    assert_eq!(Mode::confined(&controls, false).pin, controls.pin | 1);
}

#[test]
fn registers_of_the_extension_and_of_traces_stop_the_guest() {
    let mut map = MsrMap([0; 4096]);
    map.configure();
    let stops = |number: usize, part: usize| map.0[part + number / 8] >> (number % 8) & 1 != 0;
    for number in [0x3a, 0x480, 0x493, 0x560, 0x572] {
        assert!(stops(number, 0) && stops(number, 0x800), "{number:#x}");
    }
    for number in [0x1b, 0x79, 0x9b, 0x1a0] {
        assert!(!stops(number, 0) && stops(number, 0x800), "{number:#x}");
    }
    let bits: u32 = map.0.iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(bits, 2 * (1 + 20 + 19) + 4, "and no others");
}

proptest! {
    /// Whatever the processor says, no control is set that may not be, or clear that must not be.
    #[test]
    fn controls_are_what_the_processor_takes(
        low in prop::array::uniform4(any::<u32>()), high in prop::array::uniform4(any::<u32>()),
        secondary in any::<u32>(), exceptions in any::<u32>(), nmi in any::<bool>(),
        interrupt in any::<bool>(), step in any::<bool>(),
    ) {
        // A bit that must be 1 may be 1. Most of the bits may, or hardly any processor would do.
        let capability = |place: usize| {
            let must = low[place] & low[(place + 1) % 4] & high[(place + 2) % 4] & high[place];
            u64::from(must) | u64::from(high[place] | must | !low[place] | 0x8040_0000) << 32
        };
        let all = Capabilities {
            pin: capability(0) | SKYLAKE.pin, primary: capability(1) | 0xf7f9_fffe << 32,
            secondary: u64::from(secondary | 0x82) << 32, exit: capability(2) | SKYLAKE.exit,
            entry: capability(3) | SKYLAKE.entry, ..SKYLAKE
        };
        let Ok(offer) = all.offer() else { return Ok(()) };
        let takes = |value: u32, capability: u64| {
            value & !(capability >> 32) as u32 == 0 && !value & capability as u32 == 0
        };
        let controls = &offer.controls;
        prop_assert!(takes(controls.secondary, all.secondary));
        prop_assert!(takes(controls.exit, all.exit) && takes(controls.entry, all.entry));
        let windows = window(nmi, interrupt);
        let ordinary = Mode::ordinary(controls, exceptions, windows);
        for mode in [ordinary, Mode::confined(controls, step)] {
            prop_assert!(takes(mode.pin, all.pin) && takes(mode.primary, all.primary));
        }
        prop_assert_eq!(ordinary.pin & 1, 0);
    }
}
