//! What the processor offers, and the controls of the VMCS that follow from it (SDM appendix A).

use x86::vmx::vmcs::control::{
    EntryControls, ExitControls, PinbasedControls, PrimaryControls, SecondaryControls,
};

/// The capability registers, each with 0 where the processor has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// IA32_VMX_BASIC.
    pub basic: u64,
    /// IA32_VMX_TRUE_PINBASED_CTLS.
    pub pin: u64,
    /// IA32_VMX_TRUE_PROCBASED_CTLS.
    pub primary: u64,
    /// IA32_VMX_PROCBASED_CTLS2.
    pub secondary: u64,
    /// IA32_VMX_TRUE_EXIT_CTLS.
    pub exit: u64,
    /// IA32_VMX_TRUE_ENTRY_CTLS.
    pub entry: u64,
    /// IA32_VMX_EPT_VPID_CAP.
    pub ept: u64,
}

/// The controls for a guest that owns the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    /// Pin-based.
    pub pin: u32,
    /// Primary processor-based.
    pub primary: u32,
    /// Secondary processor-based.
    pub secondary: u32,
    /// Of exits.
    pub exit: u32,
    /// Of entries.
    pub entry: u32,
}

/// What there is for LUCOS to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The controls.
    pub controls: Controls,
    /// Number that regions of VMX operation begin with.
    pub revision: u32,
    /// EPT maps 1 GiB at once.
    pub huge_pages: bool,
    /// Translations of one EPT can be forgotten alone.
    pub single_context: bool,
}

impl Controls {
    /// Translations of the guest are tagged, and outlive exits.
    pub const fn has_vpid(&self) -> bool {
        self.secondary & SecondaryControls::ENABLE_VPID.bits() != 0
    }
}

/// Bits of a control field, and what they are called where they are missing.
type Needs = &'static [(u32, &'static str)];

const SECONDARY: Needs = &[
    (SecondaryControls::ENABLE_EPT.bits(), "EPT"),
    (SecondaryControls::UNRESTRICTED_GUEST.bits(), "unrestricted guest"),
];
/// Instructions that raise #UD without their control, though CPUID shows them; PCONFIG is bit 27.
const INSTRUCTIONS: u32 = SecondaryControls::ENABLE_RDTSCP.bits()
    | SecondaryControls::ENABLE_INVPCID.bits()
    | SecondaryControls::ENABLE_XSAVES_XRSTORS.bits()
    | SecondaryControls::ENABLE_USER_WAIT_PAUSE.bits()
    | 1 << 27;
const PIN: Needs = &[
    (PinbasedControls::NMI_EXITING.bits(), "NMI exiting"),
    (PinbasedControls::VIRTUAL_NMIS.bits(), "virtual NMIs"),
];
const PRIMARY: Needs = &[
    (PrimaryControls::SECONDARY_CONTROLS.bits(), "secondary controls"),
    (PrimaryControls::USE_IO_BITMAPS.bits(), "I/O bitmaps"),
    (PrimaryControls::USE_MSR_BITMAPS.bits(), "MSR bitmaps"),
];
const EXIT: Needs = &[
    (ExitControls::HOST_ADDRESS_SPACE_SIZE.bits(), "64-bit exits"),
    (ExitControls::SAVE_DEBUG_CONTROLS.bits(), "saving debug controls"),
    (ExitControls::SAVE_IA32_PAT.bits() | ExitControls::LOAD_IA32_PAT.bits(), "switching PAT"),
    (ExitControls::SAVE_IA32_EFER.bits() | ExitControls::LOAD_IA32_EFER.bits(), "switching EFER"),
];
const ENTRY: Needs = &[
    (EntryControls::IA32E_MODE_GUEST.bits(), "64-bit guests"),
    (EntryControls::LOAD_DEBUG_CONTROLS.bits(), "loading debug controls"),
    (EntryControls::LOAD_IA32_PAT.bits(), "loading PAT"),
    (EntryControls::LOAD_IA32_EFER.bits(), "loading EFER"),
];
/// What is switched on for a while only.
const PIN_AT_TIMES: u32 = PinbasedControls::EXTERNAL_INTERRUPT_EXITING.bits();
const WINDOWS: u32 =
    PrimaryControls::NMI_WINDOW_EXITING.bits() | PrimaryControls::INTERRUPT_WINDOW_EXITING.bits();
const CR3_EXITING: u32 =
    PrimaryControls::CR3_LOAD_EXITING.bits() | PrimaryControls::CR3_STORE_EXITING.bits();
/// Confined, the guest neither waits nor touches registers that would stay changed.
const CONFINED: u32 = CR3_EXITING
    | PrimaryControls::HLT_EXITING.bits()
    | PrimaryControls::MWAIT_EXITING.bits()
    | PrimaryControls::MONITOR_EXITING.bits()
    | PrimaryControls::CR8_LOAD_EXITING.bits()
    | PrimaryControls::CR8_STORE_EXITING.bits()
    | PrimaryControls::MOV_DR_EXITING.bits();

/// Of IA32_VMX_BASIC: the controls that are 1 by default can be 0.
const TRUE_CONTROLS: u64 = 1 << 55;
/// Of IA32_VMX_EPT_VPID_CAP.
const FOUR_LEVELS: u64 = 1 << 6;
const WRITE_BACK: u64 = 1 << 14;
const LARGE_PAGES: u64 = 1 << 16;
const HUGE_PAGES: u64 = 1 << 17;
const INVEPT: u64 = 1 << 20;
const SINGLE_CONTEXT: u64 = 1 << 25;
const ALL_CONTEXTS: u64 = 1 << 26;

impl Capabilities {
    /// What LUCOS uses of it.
    ///
    /// # Errors
    /// What the processor lacks.
    pub fn offer(&self) -> Result<Offer, &'static str> {
        let secondary = choose(self.secondary, SECONDARY, 0)?;
        let wished = INSTRUCTIONS | SecondaryControls::ENABLE_VPID.bits();
        let secondary = secondary | wished & allowed(self.secondary);
        for (bits, name) in [
            (FOUR_LEVELS, "EPT of four levels"),
            (WRITE_BACK, "EPT in write-back memory"),
            (LARGE_PAGES, "EPT pages of 2 MiB"),
            (INVEPT, "INVEPT"),
        ] {
            has(self.ept, bits, name)?;
        }
        has(self.ept | self.ept << 1, ALL_CONTEXTS, "a type of INVEPT")?;
        has(self.basic, TRUE_CONTROLS, "controls without defaults")?;
        let pin = choose(self.pin, PIN, PIN_AT_TIMES)?;
        let primary = choose(self.primary, PRIMARY, WINDOWS | CONFINED)?;
        let (exit, entry) = (choose(self.exit, EXIT, 0)?, choose(self.entry, ENTRY, 0)?);
        Ok(Offer {
            controls: Controls { pin, primary, secondary, exit, entry },
            revision: self.basic as u32 & 0x7fff_ffff,
            huge_pages: self.ept & HUGE_PAGES != 0,
            single_context: self.ept & SINGLE_CONTEXT != 0,
        })
    }
}

/// Bits that may be 1.
const fn allowed(capability: u64) -> u32 {
    (capability >> 32) as u32
}

fn has(capability: u64, bits: u64, name: &'static str) -> Result<(), &'static str> {
    if capability & bits == bits { Ok(()) } else { Err(name) }
}

/// The field of a capability: what is needed, and what must be 1. `at_times` are bits that can be both.
fn choose(capability: u64, needs: Needs, at_times: u32) -> Result<u32, &'static str> {
    for &(bits, name) in needs {
        has(allowed(capability).into(), bits.into(), name)?;
    }
    if !allowed(capability) & at_times != 0 || capability as u32 & at_times != 0 {
        return Err("controls that can be switched");
    }
    Ok(needs.iter().fold(capability as u32, |sum, (bits, _)| sum | bits))
}

/// IA32_FEATURE_CONTROL: it is locked, and VMXON works outside of SMX (SDM 24.7).
const LOCKED: u64 = 1;
const ON: u64 = 1 << 2;

/// Whether the firmware lets VT-x be switched on: by writing this to IA32_FEATURE_CONTROL, or as it is.
/// `None`: it does not.
pub const fn may_be_switched_on(feature_control: u64) -> Option<Option<u64>> {
    match feature_control & (LOCKED | ON) {
        bits if bits == LOCKED | ON => Some(None),
        LOCKED => None,
        _ => Some(Some(feature_control | LOCKED | ON)),
    }
}

/// The fields that differ between the ways of running the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Pin-based controls.
    pub pin: u32,
    /// Primary processor-based controls.
    pub primary: u32,
    /// Exceptions that leave.
    pub exceptions: u32,
    /// It runs confined.
    pub confined: bool,
}

impl Mode {
    /// On its own. `windows` are the bits of [`crate::window`].
    pub const fn ordinary(controls: &Controls, exceptions: u32, windows: u32) -> Self {
        let (pin, primary) = (controls.pin, controls.primary | windows);
        Self { pin, primary, exceptions, confined: false }
    }

    /// Confined, for one instruction or until the machine's next interrupt.
    pub const fn confined(controls: &Controls, step: bool) -> Self {
        Self {
            pin: controls.pin | if step { 0 } else { PIN_AT_TIMES },
            primary: controls.primary | CONFINED,
            exceptions: u32::MAX,
            confined: true,
        }
    }
}
