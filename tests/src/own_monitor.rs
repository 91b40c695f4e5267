//! A machine that talks to its own monitor: QEMU's monitor listens at a socket, and a port of the
//! machine is connected to it. So the script that runs in the guest says when a device comes.

use libtest_mimic::Failed;

use crate::Run;

/// Defines `monitor` for the guest's shell: it gives QEMU one command. Once for each boot, since the
/// port can be opened once. QEMU's answers are read, so that it goes on, and thrown away.
pub const MONITOR: &str = "
until ls /dev/vport*p1 >/dev/null 2>&1; do sleep 0.1; done
exec 6<>$(echo /dev/vport*p1)
cat <&6 >/dev/null &
monitor() { printf '%s\\n' \"$1\" >&6; }
";

impl Run {
    /// Connects the machine with its own monitor.
    ///
    /// # Errors
    /// When there is no place for the socket.
    pub fn own_monitor(self) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("monitor").display().to_string();
        let listening = format!("socket,id=monitor,path={socket},server=on,wait=off");
        let connected = format!("socket,id=guest,path={socket}");
        Ok(self
            .qemu(["-chardev", &listening, "-mon", "chardev=monitor", "-chardev", &connected])
            .qemu(["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=guest"])
            .keep(folder))
    }
}
