//! What executes the machine's instructions, and which virtualization extension LUCOS finds in
//! it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

/// What executes the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The emulator.
    Tcg,
    /// The host's processor, with nested virtualization.
    Kvm,
}

/// Threads of the emulator for the machine's processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// One for all: they take turns.
    Single,
    /// One for each.
    #[default]
    Multi,
}

impl FromStr for Threads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "single" => Ok(Self::Single),
            "multi" => Ok(Self::Multi),
            _ => Err(String::from("threads are single or multi")),
        }
    }
}

/// The virtualization extension that the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// AMD-V.
    Svm,
    /// VT-x.
    Vmx,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcceleratorChoice {
    /// KVM where nested virtualization reaches a guest, else TCG.
    #[default]
    Auto,
    /// KVM or an error.
    Kvm,
    /// TCG.
    Tcg,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExtensionChoice {
    /// What the accelerator has.
    #[default]
    Auto,
    /// AMD-V or an error.
    Svm,
    /// VT-x or an error.
    Vmx,
}

impl FromStr for AcceleratorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(String::from("an accelerator is auto, kvm or tcg")),
        }
    }
}

impl FromStr for ExtensionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "svm" => Ok(Self::Svm),
            "vmx" => Ok(Self::Vmx),
            _ => Err(String::from("an extension is auto, svm or vmx")),
        }
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Svm => "AMD-V",
            Self::Vmx => "VT-x",
        })
    }
}

/// Decides how the machine is executed.
///
/// # Errors
/// When this host cannot give what was asked for; the text says why.
pub fn choose(
    accelerator: AcceleratorChoice,
    extension: ExtensionChoice,
) -> Result<(Accelerator, Extension), String> {
    decide(nested(Path::new("/")), accelerator, extension)
}

fn decide(
    nested: Result<Extension, String>,
    accelerator: AcceleratorChoice,
    extension: ExtensionChoice,
) -> Result<(Accelerator, Extension), String> {
    let fits = |found: Extension| match extension {
        ExtensionChoice::Auto => true,
        ExtensionChoice::Svm => found == Extension::Svm,
        ExtensionChoice::Vmx => found == Extension::Vmx,
    };
    let emulated = || match extension {
        ExtensionChoice::Auto | ExtensionChoice::Svm => Ok((Accelerator::Tcg, Extension::Svm)),
        ExtensionChoice::Vmx => Err(String::from("QEMU's TCG has no VT-x")),
    };
    match (accelerator, nested) {
        (AcceleratorChoice::Tcg, _) => emulated(),
        (AcceleratorChoice::Auto | AcceleratorChoice::Kvm, Ok(found)) if fits(found) => {
            Ok((Accelerator::Kvm, found))
        }
        (AcceleratorChoice::Kvm, Ok(found)) => Err(format!("this host's KVM nests {found} only")),
        (AcceleratorChoice::Kvm, Err(reason)) => Err(reason),
        (AcceleratorChoice::Auto, Ok(_)) => emulated(),
        (AcceleratorChoice::Auto, Err(reason)) => {
            emulated().map_err(|error| format!("{error}, and {reason}"))
        }
    }
}

/// The extension that reaches a guest of this host's KVM. `/dev/kvm` alone says nothing: the
/// module may have nesting off, and inside a virtual machine the processor may lack the extension.
fn nested(root: &Path) -> Result<Extension, String> {
    let kvm = root.join("dev/kvm");
    fs::File::options()
        .read(true)
        .write(true)
        .open(&kvm)
        .map_err(|error| format!("/dev/kvm cannot be opened: {error}"))?;
    let info = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or("");
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let (extension, module) = if has("svm") {
        (Extension::Svm, "kvm_amd")
    } else if has("vmx") {
        (Extension::Vmx, "kvm_intel")
    } else {
        return Err(String::from("this host's processor shows no extension"));
    };
    let parameter = root.join(format!("sys/module/{module}/parameters/nested"));
    match fs::read_to_string(parameter).unwrap_or_default().trim() {
        "Y" | "y" | "1" => Ok(extension),
        _ => Err(format!("{module} of this host does not nest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(flags: &str, module: &str, nested: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("dev/kvm", "");
        write("proc/cpuinfo", &format!("flags\t\t: fpu {flags} nx\n"));
        write(&format!("sys/module/{module}/parameters/nested"), nested);
        root
    }

    #[test]
    fn nesting_needs_device_flag_and_parameter() {
        let ask = |flags, module, value| nested(host(flags, module, value).path());
        assert_eq!(ask("svm", "kvm_amd", "1\n"), Ok(Extension::Svm));
        assert_eq!(ask("vmx", "kvm_intel", "Y\n"), Ok(Extension::Vmx));
        assert!(ask("vmx", "kvm_intel", "N\n").is_err());
        assert!(ask("vmx", "kvm_amd", "Y\n").is_err());
        assert!(ask("svme", "kvm_amd", "1\n").is_err());
        let empty = tempfile::tempdir().expect("a folder");
        assert!(nested(empty.path()).is_err());
    }

    #[test]
    fn auto_falls_back_to_the_emulator() {
        use AcceleratorChoice as A;
        use ExtensionChoice as E;
        let no = || Err(String::from("no"));
        let tcg = Ok((Accelerator::Tcg, Extension::Svm));
        assert_eq!(decide(no(), A::Auto, E::Auto), tcg);
        assert_eq!(decide(Ok(Extension::Vmx), A::Auto, E::Svm), tcg);
        assert_eq!(
            decide(Ok(Extension::Vmx), A::Auto, E::Auto),
            Ok((Accelerator::Kvm, Extension::Vmx))
        );
        assert!(decide(no(), A::Auto, E::Vmx).is_err());
        assert!(decide(no(), A::Kvm, E::Auto).is_err());
        assert!(decide(Ok(Extension::Vmx), A::Kvm, E::Svm).is_err());
        assert!(decide(Ok(Extension::Vmx), A::Tcg, E::Vmx).is_err());
    }
}
