//! Messages: whatever decodes is the encoding of what it decodes to.

use lucos_abi::boot::{BootRecord, StartInfo};
use lucos_abi::manifest::SystemTable;
use lucos_abi::message::{MESSAGE_SIZE, decode, encode};
use lucos_abi::object::{
    GuestMemoryReply, GuestMemoryRequest, LogRequest, MachineReply, MachineRequest, SpaceRequest,
    VcpuReply, VcpuRequest,
};
use lucos_abi::registers::{Registers, SIZE};
use lucos_service::{
    AddressSpace, GuardKind, LiveupdateReply, LiveupdateRequest, MemoryReply, MemoryRequest,
};
use lucos_system_info::SystemInfo;
use serde::{Deserialize, Serialize};

/// The first byte says as which message the rest is decoded.
pub fn check(data: &[u8]) -> bool {
    let Some((&kind, data)) = data.split_first() else { return false };
    match kind % 17 {
        0 => strict::<VcpuRequest<'_>>(data),
        1 => strict::<VcpuReply<'_>>(data),
        2 => strict::<MachineRequest>(data),
        3 => strict::<MachineReply<'_>>(data),
        4 => strict::<SpaceRequest>(data),
        5 => strict::<GuestMemoryRequest<'_>>(data),
        6 => strict::<LogRequest<'_>>(data),
        7 => strict::<GuestMemoryReply<'_>>(data),
        8 => strict::<LiveupdateReply>(data),
        9 => strict::<SystemTable>(data),
        10 => strict::<BootRecord>(data),
        11 => strict::<SystemInfo>(data),
        12 => strict::<StartInfo>(data),
        13 => strict::<MemoryRequest<'_>>(data),
        14 => strict::<MemoryReply<'_>>(data),
        15 => strict::<LiveupdateRequest>(data),
        _ => registers(data),
    }
}

fn strict<'a, T: Deserialize<'a> + Serialize>(bytes: &'a [u8]) -> bool {
    let Ok(message) = decode::<T>(bytes) else { return false };
    let mut buffer = vec![0; bytes.len().max(MESSAGE_SIZE)];
    let length = encode(&message, &mut buffer).expect("it fitted before");
    assert_eq!(&buffer[..length], bytes, "two byte strings mean the same message");
    true
}

fn registers(bytes: &[u8]) -> bool {
    let Some(registers) = Registers::from_bytes(bytes) else { return false };
    assert_eq!(registers.to_bytes().as_slice(), bytes);
    true
}

/// Messages of several kinds.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let space = AddressSpace { root: 0x1000, five_levels: false };
    let arguments = [1, u64::MAX, 0x8000_0000, 4];
    vec![
        seed(0, &VcpuRequest::Run { registers: &[7; SIZE], event: None }),
        seed(0, &VcpuRequest::Confined { registers: &[7; SIZE], steps: 20_000 }),
        seed(2, &MachineRequest::Stop { deadline: 300 }),
        seed(6, &LogRequest::Write { text: "some text" }),
        seed(13, &MemoryRequest::Write { space, address: 0x2000, data: &[1, 2, 3] }),
        seed(13, &MemoryRequest::CopyPhysical { from: 1, to: 2, length: 3 }),
        seed(13, &MemoryRequest::Guard { kind: GuardKind::Carried, on: true, pages: &[0; 16] }),
        seed(13, &MemoryRequest::Open { gpa: 0x1000, copy: 0x2000 }),
        seed(14, &MemoryReply::Bytes { data: &[9; 100] }),
        seed(15, &LiveupdateRequest::Hypercall { number: 3, arguments, space, again: true }),
        seed(8, &LiveupdateReply::Results(arguments)),
        [&[16_u8][..], &[3; lucos_abi::registers::SIZE]].concat(),
    ]
}

fn seed(kind: u8, message: &impl Serialize) -> Vec<u8> {
    let mut buffer = vec![0; MESSAGE_SIZE];
    let length = encode(message, &mut buffer).expect("a page is enough");
    [&[kind], &buffer[..length]].concat()
}
