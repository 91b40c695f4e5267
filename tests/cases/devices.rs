//! The guest drives devices itself: a virtio disk, a virtio network card.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use lucos_tests::{Report, Run, SharedBoot, equal};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

const MIB: usize = 1 << 20;
const DISK: usize = 8 * MIB;
/// Where the guest writes.
const WRITTEN: std::ops::Range<usize> = 4 * MIB..6 * MIB;
/// What comes over the network.
const DOWNLOAD: usize = 2 * MIB;
const UPLOAD: usize = MIB;

/// A machine with a disk and a network card, on which `run` is based, and the tests of both.
pub fn shared(
    name: String,
    run: impl FnOnce() -> Result<Run, Failed> + Send + 'static,
) -> SharedBoot {
    let disk = Arc::new(OnceLock::new());
    let uploads = mpsc::channel();
    let prepare = {
        let disk = Arc::clone(&disk);
        move || {
            let file = NamedTempFile::new()?;
            file.as_file().write_all(&pattern(DISK))?;
            let port = serve(uploads.0)?;
            let run = run()?
                .argument("--disk")
                .argument(file.path())
                .argument("--net")
                .append(format!("test_port={port}"));
            disk.get_or_init(|| file);
            Ok(run)
        }
    };
    let (uploads, network_script) = (uploads.1, NETWORK);
    SharedBoot::new(name, prepare)
        .test("disk", DISK_SCRIPT, move |report| check_disk(report, disk.get()))
        .test("network", network_script, move |report| check_network(report, &uploads))
}

/// Bytes in which no two blocks are alike.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

const DISK_SCRIPT: &str = "
sum() { sha256sum | cut -d ' ' -f 1; }
echo size $(cat /sys/block/vda/size)
echo read $(sum </dev/vda)
dd if=/dev/urandom of=/tmp/new bs=1M count=2 2>/dev/null
echo new $(sum </tmp/new)
dd if=/tmp/new of=/dev/vda bs=1M seek=4 conv=fsync 2>/dev/null; echo written $?
echo 3 >/proc/sys/vm/drop_caches
echo back $(dd if=/dev/vda bs=1M skip=4 count=2 2>/dev/null | sum)
echo interrupts $(grep virtio /proc/interrupts | grep -c req)
";

fn check_disk(report: &Report, disk: Option<&NamedTempFile>) -> Result<(), Failed> {
    let before = pattern(DISK);
    report.expect("size", DISK / 512)?;
    report.expect("read", sum(&before))?;
    report.expect("written", 0)?;
    let new = report.value("new")?;
    report.expect("back", new)?;
    let disk = disk.ok_or("there was no disk")?;
    let after = std::fs::read(disk.path())?;
    let part = |bytes: &[u8], range| bytes.get(range).map(sum);
    equal("written part", part(&after, WRITTEN).as_deref(), Some(new))?;
    for rest in [0..WRITTEN.start, WRITTEN.end..DISK] {
        equal("rest", part(&after, rest.clone()), part(&before, rest))?;
    }
    Ok(())
}

/// 10.0.2.2 is the host in QEMU's user network.
const NETWORK: &str = "
sum() { sha256sum | cut -d ' ' -f 1; }
port=$(sed -n 's/.*test_port=\\([0-9]*\\).*/\\1/p' /proc/cmdline)
echo address $(ip -4 addr show | sed -n 's/.*inet \\(10[^ ]*\\).*/\\1/p')
ping -c 3 -W 10 10.0.2.2 >/tmp/ping; echo ping $?
dd if=/dev/urandom of=/tmp/upload bs=1M count=1 2>/dev/null
echo upload $(sum </tmp/upload)
nc 10.0.2.2 $port </tmp/upload >/tmp/download; echo transfer $?
echo download $(sum </tmp/download)
";

fn check_network(report: &Report, uploads: &Receiver<Vec<u8>>) -> Result<(), Failed> {
    report.expect("address", "10.0.2.15/24")?;
    report.expect("ping", 0)?;
    report.expect("transfer", 0)?;
    report.expect("download", sum(&pattern(DOWNLOAD)))?;
    let upload = uploads.recv_timeout(Duration::from_secs(10))?;
    equal("uploaded bytes", upload.len(), UPLOAD)?;
    report.expect("upload", sum(&upload))
}

/// Serves one connection: sends a pattern and takes what comes until the other side has sent all.
fn serve(uploads: Sender<Vec<u8>>) -> std::io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        let received = listener.accept().and_then(|(stream, _)| exchange(stream));
        // The test may have failed and gone.
        let _ = received.map(|bytes| uploads.send(bytes));
    });
    Ok(port)
}

fn exchange(mut stream: TcpStream) -> std::io::Result<Vec<u8>> {
    let mut sender = stream.try_clone()?;
    let sending = thread::spawn(move || {
        sender.write_all(&pattern(DOWNLOAD)).and_then(|()| sender.shutdown(Shutdown::Write))
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    // A connection that broke shows in what the guest got.
    let _ = sending.join();
    Ok(received)
}
