//! Everything that is decoded here was made by compilers and assemblers: the C library of this
//! machine and this very test. A second decoder checks every length.

use lucos_x86_code::length::instruction_length;
use lucos_x86_code::window::{WindowError, analyse};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use yaxpeax_arch::{AddressBase, Decoder, LengthedInstruction, U8Reader};
use yaxpeax_x86::long_mode::InstDecoder;

fn second_opinion(code: &[u8]) -> Option<usize> {
    let instruction = InstDecoder::default().decode(&mut U8Reader::new(code)).ok()?;
    Some(0_u64.wrapping_offset(instruction.len()) as usize)
}

/// This test, and the library.
fn files() -> Vec<Vec<u8>> {
    let own = std::env::current_exe().unwrap();
    let mut files = vec![std::fs::read(own).unwrap()];
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(5))
        .find(|path| path.contains("libc.so") || path.contains("/libc-"));
    files.extend(library.map(|path| std::fs::read(path).unwrap()));
    files
}

/// The functions of a file: address and bytes.
fn functions(file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let object = object::File::parse(file).unwrap();
    let symbols = object.symbols().chain(object.dynamic_symbols());
    let mut functions: Vec<_> = symbols
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
        .filter_map(|symbol| {
            let section = object.section_by_index(symbol.section_index()?).ok()?;
            if section.kind() != SectionKind::Text {
                return None;
            }
            let bytes = section.data_range(symbol.address(), symbol.size()).ok()??;
            Some((symbol.address(), bytes.to_vec()))
        })
        .collect();
    functions.sort();
    functions.dedup();
    functions
}

#[test]
fn both_decoders_agree_on_every_instruction_of_every_function() {
    let mut agreed = 0_u64;
    let mut unknown_to_the_second = 0_u64;
    for file in files() {
        for (address, code) in functions(&file) {
            let mut offset = 0;
            while offset < code.len() {
                let rest = &code[offset..];
                // Tables in the text of hand-written functions end the comparison there.
                let Ok(length) = instruction_length(rest, 64) else {
                    break;
                };
                match second_opinion(rest) {
                    Some(second) => {
                        assert_eq!(usize::from(length), second, "{:#x}", address + offset as u64);
                        agreed += 1;
                    }
                    None => unknown_to_the_second += 1,
                }
                offset += usize::from(length);
            }
        }
    }
    assert!(agreed > 100_000, "only {agreed} instructions were compared");
    // The second decoder lacks the mask instructions of AVX-512.
    assert!(unknown_to_the_second * 1000 < agreed, "{unknown_to_the_second} of {agreed}");
}

#[test]
fn almost_every_function_has_a_window() {
    // Of the library alone: how many functions of a test have room depends on how it is compiled.
    let (mut total, mut decoded, mut roomy) = (0, 0, 0);
    for file in files().into_iter().skip(1) {
        for (address, code) in functions(&file) {
            total += 1;
            match analyse(&code, address, 0) {
                Ok(window) => {
                    decoded += 1;
                    let displaced = usize::from(window.displaced.unwrap_or(0));
                    roomy += usize::from(displaced >= 5);
                    assert!(displaced <= code.len() && displaced <= 19);
                    assert_eq!(window.breakpoint, None, "{address:#x}");
                }
                Err(WindowError::Undecodable { .. } | WindowError::Length) => {}
                Err(error) => panic!("{address:#x}: {error:?}"),
            }
        }
    }
    assert!(total > 1_000, "only {total} functions");
    assert!(decoded * 1000 >= total * 995, "{decoded} of {total} decode");
    assert!(roomy * 100 >= decoded * 95, "{roomy} of {decoded} have room");
}
