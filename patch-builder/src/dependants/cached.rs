//! What was found out once, in files of the cache.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, at};
use crate::kernel_tree::KernelTree;

/// The version of what is kept. It is raised whenever this module or the reading of C (`change`) finds
/// something else for the same source than before: other lists, other items, other meanings, other
/// objects. A test holds what is found for a sample against it.
const VERSION: u32 = 1;

/// Where a kernel's are kept. Another version has another folder, and another way to make digests of
/// words (the standard library's may change) too.
pub(super) fn place(tree: &KernelTree) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    VERSION.hash(&mut hasher);
    tree.place().join(format!("dependants-{VERSION}-{:x}", hasher.finish()))
}

/// Reads what is kept, if it is there and whole.
pub(super) fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(file).ok()?).read_to_end(&mut bytes).ok()?;
    postcard::from_bytes(&bytes).ok()
}

/// Nobody sees half of a file, whoever ends this program.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write<T: Serialize>(file: &Path, value: &T) -> Result<(), Error> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(at(folder))?;
    let bytes = postcard::to_allocvec(value)
        .map_err(|error| at(file)(std::io::Error::other(error.to_string())))?;
    let part = tempfile::NamedTempFile::new_in(folder).map_err(at(folder))?;
    let mut packed = GzEncoder::new(part.as_file(), Compression::fast());
    packed.write_all(&bytes).map_err(at(file))?;
    packed.finish().map_err(at(file))?;
    part.persist(file).map(|_| ()).map_err(|error| at(file)(error.error))
}

#[cfg(test)]
mod tests {
    use super::super::items::cut;
    use super::super::known::Known;
    use super::super::texts::TEXT;
    use super::*;
    use crate::digest;

    #[test]
    fn half_a_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b");
        write(&file, &vec![1_u32; 1000]).unwrap();
        assert_eq!(read::<Vec<u32>>(&file), Some(vec![1; 1000]));
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(read::<Vec<u32>>(&file), None);
        assert_eq!(read::<Vec<u32>>(&folder.path().join("none")), None);
    }

    /// What is kept of a text with all that is told apart in one.
    #[test]
    fn another_reading_has_another_version() {
        const SAMPLE: &str = "# 1 \"./a.h\" 1\n#define USED 1\n#undef ASKED\n#pragma pack(1)\n\
            typedef unsigned long number; struct tag { number one; enum { IN } kind; };\n\
            enum kind { ONE, TWO = ONE + 3, THREE };\n\
            extern struct tag *get(number n) __attribute__((cold));\n\
            static inline number twice(number n) { return 2 * n; }\n\
            extern inline __attribute__((gnu_inline)) int gnu(void) { return 1; }\n\
            # 9 \"sub/../b.h\" 2\nstatic int (*call)(int) = 0; static int kept __attribute__((used));\n\
            _Static_assert(1, \"text\"); asm(\".globl name_in_a_text\"); int made(void) { return THREE; }\n\
            int alias(void) __attribute__((alias(\"made\"))); struct tag a, b;\n";
        let mut known = Known::default();
        let text = known.text(&cut(SAMPLE));
        let found = postcard::to_allocvec(&(text, known)).unwrap();
        let found = digest::of(&[&found, TEXT.as_bytes()]);
        let expected = (1, "8eb2b832d62917faf16dc8b66e9f5cbe");
        assert_eq!((VERSION, found.as_str()), expected, "raise VERSION with what is found");
    }
}
