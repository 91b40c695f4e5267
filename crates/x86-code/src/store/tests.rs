use super::{Store, StoreError, decode_store, value_of};
use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};
use lucos_abi::registers::Registers;
use proptest::prelude::*;

fn registers() -> Registers {
    Registers {
        rax: 0x1111_2222_3333_4444,
        rbx: 0xffff_8880_0000_1000,
        rcx: 0x0000_0000_0000_0010,
        rdx: 0x5555_6666_7777_8899,
        rsi: 0x0102_0304_0506_0708,
        rsp: 0xffff_c900_0000_0000,
        r8: 0x8888_8888_8888_8888,
        r15: 0xffff_ffff_0000_2000,
        rip: 0xffff_ffff_8100_0000,
        code_size: 64,
        ..Registers::default()
    }
}

#[test]
fn the_stores_of_the_mailbox() {
    let cases: [(&[u8], u8, u64, u64); 9] = [
        // mov word [rbx], 1
        (&[0x66, 0xc7, 0x03, 1, 0], 2, 1, 0xffff_8880_0000_1000),
        // mov word [rbx], ax
        (&[0x66, 0x89, 0x03], 2, 0x4444, 0xffff_8880_0000_1000),
        // mov dword [rbx+4], edx
        (&[0x89, 0x53, 4], 4, 0x7777_8899, 0xffff_8880_0000_1004),
        // mov qword [rbx+8], rdx
        (&[0x48, 0x89, 0x53, 8], 8, 0x5555_6666_7777_8899, 0xffff_8880_0000_1008),
        // mov byte [rbx+rcx*2], dh
        (&[0x88, 0x34, 0x4b], 1, 0x88, 0xffff_8880_0000_1020),
        // mov byte [rbx], sil: with REX, number 6 is SIL and not DH
        (&[0x40, 0x88, 0x33], 1, 0x08, 0xffff_8880_0000_1000),
        // mov qword [rbx], -1: sign-extended
        (&[0x48, 0xc7, 0x03, 0xff, 0xff, 0xff, 0xff], 8, u64::MAX, 0xffff_8880_0000_1000),
        // mov [rip+0x10], r8d
        (&[0x44, 0x89, 0x05, 0x10, 0, 0, 0], 4, 0x8888_8888, 0xffff_ffff_8100_0017),
        // mov [0x1122334455667788], eax
        (
            &[0xa3, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
            4,
            0x3333_4444,
            0x1122_3344_5566_7788,
        ),
    ];
    for (code, width, value, address) in cases {
        let length = code.len() as u8;
        assert_eq!(
            decode_store(code, &registers()),
            Ok(Store { width, value, address, length }),
            "{code:02x?}"
        );
    }
}

#[test]
fn what_is_no_plain_store_is_named() {
    let refused: [(&[u8], StoreError); 9] = [
        (&[0x8b, 0x03], StoreError::NotAStore),     // mov eax, [rbx]
        (&[0x89, 0xc3], StoreError::NotAStore),     // mov ebx, eax
        (&[0x01, 0x03], StoreError::NotAStore),     // add [rbx], eax
        (&[0x87, 0x03], StoreError::NotAStore),     // xchg [rbx], eax
        (&[0x8c, 0x03], StoreError::NotAStore),     // mov [rbx], es
        (&[0xf3, 0xa4], StoreError::NotAStore),     // rep movsb
        (&[0x65, 0x89, 0x03], StoreError::Segment), // mov gs:[rbx], eax
        (&[0x89], StoreError::Truncated),
        (&[0x06], StoreError::Invalid),
    ];
    for (code, error) in refused {
        assert_eq!(decode_store(code, &registers()), Err(error), "{code:02x?}");
    }
    let compatible = Registers { code_size: 32, ..registers() };
    assert_eq!(decode_store(&[0x89, 0x03], &compatible), Err(StoreError::CodeSize));
}

/// The general registers of one size, in the order of their encoding.
fn numbered(number: u8, width: u8) -> Register {
    let first = match width {
        2 => Register::AX,
        4 => Register::EAX,
        _ => Register::RAX,
    };
    first + u32::from(number)
}

prop_compose! {
    fn any_registers()(bytes in prop::collection::vec(any::<u8>(), lucos_abi::registers::SIZE))
        -> Registers
    {
        Registers {
            code_size: 64,
            ..Registers::from_bytes(&bytes).unwrap()
        }
    }
}

proptest! {
    #[test]
    fn what_an_encoder_writes_is_read_back(
        registers in any_registers(),
        form in 0_usize..3,
        source in 0_u8..16,
        base in 0_u8..16,
        index in 0_u8..16,
        scale in prop::sample::select(vec![1_u32, 2, 4, 8]),
        displacement: i32,
    ) {
        let width = [2, 4, 8][form];
        let code = [Code::Mov_rm16_r16, Code::Mov_rm32_r32, Code::Mov_rm64_r64][form];
        // RSP cannot be an index.
        let index = if index == 4 { 5 } else { index };
        let operand = MemoryOperand::new(
            numbered(base, 8),
            numbered(index, 8),
            scale,
            i64::from(displacement),
            8,
            false,
            Register::None,
        );
        let instruction =
            Instruction::with2(code, operand, numbered(source, width)).unwrap();
        let mut encoder = Encoder::new(64);
        let length = encoder.encode(&instruction, registers.rip).unwrap();
        let bytes = encoder.take_buffer();
        let store = decode_store(&bytes, &registers).unwrap();
        let mask = u64::MAX >> (64 - 8 * u32::from(width));
        let address = value_of(&registers, base).unwrap()
            .wrapping_add(value_of(&registers, index).unwrap().wrapping_mul(u64::from(scale)))
            .wrapping_add_signed(i64::from(displacement));
        prop_assert_eq!(store, Store {
            width,
            value: value_of(&registers, source).unwrap() & mask,
            address,
            length: length as u8,
        });
    }

    #[test]
    fn any_bytes_give_a_store_or_an_error(
        registers in any_registers(),
        code in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        if let Ok(store) = decode_store(&code, &registers) {
            prop_assert!(usize::from(store.length) <= code.len());
            prop_assert!([1, 2, 4, 8].contains(&store.width));
        }
    }
}
