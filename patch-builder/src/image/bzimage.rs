//! Unpacks the kernel proper out of a bzImage.
//!
//! Linux x86 boot protocol: `payload_offset` at 0x248 and `payload_length` at 0x24c, the former
//! relative to the protected-mode code, which follows `setup_sects` (0x1f1) + 1 sectors.

use std::io::{Read, Seek, Write};
use std::process::{Command, Stdio};

use super::wrong::Wrong;

/// More than any kernel needs.
const LIMIT: usize = 512 << 20;
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// What one block of that format holds at most.
const LZ4_BLOCK: usize = 8 << 20;
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const XZ: [u8; 4] = [0xfd, b'7', b'z', b'X'];
/// The length of the unpacked kernel follows the packed one.
const LENGTH_FIELD: usize = 4;

/// The unpacked kernel: an ELF file, with the relocations of the boot code behind it.
pub fn payload(image: &[u8]) -> Result<Vec<u8>, Wrong> {
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err("it has no boot protocol header".into());
    }
    let sectors = match image.get(0x1f1) {
        Some(0) | None => 4,
        Some(&count) => usize::from(count),
    };
    let field = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let packed = field(0x248)
        .zip(field(0x24c))
        .and_then(|(offset, length)| {
            let start = (sectors + 1).checked_mul(512)?.checked_add(offset)?;
            image.get(start..start.checked_add(length)?)
        })
        .ok_or("its payload is not in the file")?;
    let packed = packed.get(..packed.len().saturating_sub(LENGTH_FIELD)).unwrap_or_default();
    match packed.first_chunk::<4>() {
        Some(&LZ4_LEGACY) => lz4(packed.get(4..).unwrap_or_default()),
        Some(&ZSTD) => zstd(packed),
        Some(&XZ) => xz(packed),
        _ => Err("it is packed in another way than with LZ4, zstd or XZ".into()),
    }
}

fn lz4(mut packed: &[u8]) -> Result<Vec<u8>, Wrong> {
    let mut kernel = Vec::new();
    while let Some((length, rest)) = packed.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or("its LZ4 data ends too soon")?;
        let unpacked =
            lz4_flex::block::decompress(block, LZ4_BLOCK).map_err(|error| error.to_string())?;
        kernel.extend(unpacked);
        if kernel.len() > LIMIT {
            return Err("it is too large".into());
        }
        packed = rest;
    }
    Ok(kernel)
}

fn zstd(packed: &[u8]) -> Result<Vec<u8>, Wrong> {
    let decoder =
        ruzstd::decoding::StreamingDecoder::new(packed).map_err(|error| error.to_string())?;
    let mut kernel = Vec::new();
    let limit = LIMIT as u64;
    decoder.take(limit).read_to_end(&mut kernel).map_err(|error| error.to_string())?;
    Ok(kernel)
}

/// By the program, which modules are unpacked with too.
fn xz(packed: &[u8]) -> Result<Vec<u8>, Wrong> {
    let output = tempfile::tempfile().and_then(|mut file| {
        file.write_all(packed)?;
        file.rewind()?;
        Command::new("xz").args(["--decompress", "--stdout"]).stdin(Stdio::from(file)).output()
    });
    let output = output.map_err(|error| format!("xz: {error}"))?;
    match output.stdout.len() {
        _ if !output.status.success() => Err(String::from_utf8_lossy(&output.stderr).trim().into()),
        length if length > LIMIT => Err("it is too large".into()),
        _ => Ok(output.stdout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(packed: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x800];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        let length = u32::try_from(packed.len() + 4).unwrap();
        image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        image.truncate(0x400 + 16);
        image.extend(packed);
        image.extend([0; 4]);
        image
    }

    #[test]
    fn an_lz4_payload_is_unpacked() {
        let block = lz4_flex::block::compress(b"kernel kernel kernel kernel");
        let mut packed = LZ4_LEGACY.to_vec();
        packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        packed.extend(&block);
        assert_eq!(payload(&image(&packed)).unwrap(), b"kernel kernel kernel kernel");
        packed.pop();
        assert!(payload(&image(&packed)).is_err());
    }

    #[test]
    fn an_xz_payload_is_unpacked() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"kernel kernel kernel kernel").unwrap();
        let mut xz = Command::new("xz");
        let packed = xz.args(["--stdout", "--x86", "--lzma2"]).arg(file.path()).output();
        let packed = packed.unwrap().stdout;
        assert_eq!(payload(&image(&packed)).unwrap(), b"kernel kernel kernel kernel");
        assert!(payload(&image(&packed[..packed.len() - 4])).is_err());
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(payload(&[]).is_err());
        assert!(payload(&image(b"BZh9")).unwrap_err().contains("packed in another way"));
        let mut outside = image(b"1234");
        outside[0x248..0x24c].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(payload(&outside).is_err());
    }
}
