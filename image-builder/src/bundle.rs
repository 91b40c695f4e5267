//! The boot bundle: one archive with everything that LUCOS boots.

use std::io;

use hermit_entry::elf::KernelObject;
use lucos_abi::manifest::SystemTable;

use crate::{system, task_image};

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The boot stub could not load the kernel.
    #[error("the kernel's ELF file cannot be loaded: {0}")]
    Kernel(String),
    /// A task's ELF file is none.
    #[error("task {task}: {error}")]
    Task {
        /// Its name.
        task: String,
        /// What is wrong.
        error: task_image::Error,
    },
    /// The boot stub would refuse the system table with these images.
    #[error(transparent)]
    Refused(#[from] system::Error),
    /// The table cannot be encoded.
    #[error("the system table cannot be encoded: {0}")]
    System(#[from] postcard::Error),
    /// A task of the table has no image, or the other way round.
    #[error("{0}")]
    Tasks(String),
    /// The archive cannot be written.
    #[error("the bundle cannot be written: {0}")]
    Archive(#[from] io::Error),
}

/// What the guest boots.
#[derive(Clone, Copy, Debug)]
pub struct GuestParts<'a> {
    /// The bzImage.
    pub kernel: &'a [u8],
    /// The initramfs.
    pub initrd: &'a [u8],
    /// The command line.
    pub cmdline: &'a str,
}

/// Everything in a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    /// The kernel's ELF file.
    pub kernel: &'a [u8],
    /// The system table.
    pub system: &'a SystemTable,
    /// The ELF file of each task of the table, by name.
    pub tasks: &'a [(&'a str, Vec<u8>)],
    /// The guest; a system that only tests itself has none.
    pub guest: Option<GuestParts<'a>>,
}

/// Images by their tasks' names.
type Images = Vec<(String, Vec<u8>)>;

impl Bundle<'_> {
    /// The archive (ustar), the same bytes for the same content.
    ///
    /// # Errors
    /// When the kernel could not be loaded, or tasks and table do not agree.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        check_kernel(self.kernel)?;
        self.check_tasks()?;
        let (system, images) = self.images()?;
        let mut archive = tar::Builder::new(Vec::new());
        add(&mut archive, "kernel", self.kernel)?;
        add(&mut archive, "system", &system::encode(&system)?)?;
        for (name, image) in images {
            add(&mut archive, &format!("tasks/{name}"), &image)?;
        }
        if let Some(guest) = &self.guest {
            add(&mut archive, "guest/kernel", guest.kernel)?;
            align(&mut archive)?;
            add(&mut archive, "guest/initrd", guest.initrd)?;
            add(&mut archive, "guest/cmdline", guest.cmdline.as_bytes())?;
        }
        Ok(archive.into_inner()?)
    }

    /// The tasks' images by name, and the table that says what they hold.
    fn images(&self) -> Result<(SystemTable, Images), Error> {
        let mut system = self.system.clone();
        let mut images = Vec::new();
        for (name, file) in self.tasks {
            let failed = |error| Error::Task { task: String::from(*name), error };
            let (image, pages) = task_image::of_elf(file).map_err(failed)?;
            for task in system.tasks.iter_mut().filter(|task| task.name == *name) {
                task.image = image;
            }
            images.push((String::from(*name), pages));
        }
        system::check(&system)?;
        Ok((system, images))
    }

    fn check_tasks(&self) -> Result<(), Error> {
        for task in &self.system.tasks {
            if !self.tasks.iter().any(|(name, _)| *name == task.name.as_str()) {
                return Err(Error::Tasks(format!("task {} has no image", task.name)));
            }
        }
        for (name, _) in self.tasks {
            if !self.system.tasks.iter().any(|task| task.name == *name) {
                let error = format!("the system table has no task {name}");
                return Err(Error::Tasks(error));
            }
        }
        Ok(())
    }
}

/// Parses the kernel as the boot stub will. The parser wants its input at a multiple of eight
/// bytes, and a file that cargo has just linked: it panics on one that is cut off.
fn check_kernel(kernel: &[u8]) -> Result<(), Error> {
    if kernel.len() < 64 || !kernel.starts_with(b"\x7fELF") {
        return Err(Error::Kernel(String::from("it is no ELF file")));
    }
    let mut room = vec![0; kernel.len() + 8];
    let start = room.as_ptr().align_offset(8);
    let Some(aligned) = room.get_mut(start..start + kernel.len()) else {
        return Err(Error::Kernel(String::from("it cannot be aligned")));
    };
    aligned.copy_from_slice(kernel);
    let object = KernelObject::parse(aligned).map_err(|error| Error::Kernel(error.to_string()))?;
    if object.start_addr().is_some() {
        let error = "it is linked to a fixed address, and must be loaded anywhere";
        return Err(Error::Kernel(String::from(error)));
    }
    Ok(())
}

/// Fills the archive up so that the content of the next member starts on a page: boot loaders put
/// the bundle on one, and an initial RAM disk that starts on a page need not be copied.
fn align(archive: &mut tar::Builder<Vec<u8>>) -> io::Result<()> {
    const PAGE: usize = 4096;
    const HEADER: usize = 512;
    let next = archive.get_ref().len() + HEADER;
    match next.next_multiple_of(PAGE) - next {
        0 => Ok(()),
        // The filling has a header too.
        missing => add(archive, "padding", &vec![0; missing - HEADER]),
    }
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_else_than_a_kernel_is_refused() {
        for bytes in [&b""[..], b"\x7fELF", &[0; 4096]] {
            assert!(matches!(check_kernel(bytes), Err(Error::Kernel(_))));
        }
    }

    #[test]
    fn tasks_and_table_must_agree() {
        let system = system::parse(include_str!("../../system.toml")).expect("sound").table;
        let images = |names: &[&'static str]| -> Vec<(&'static str, Vec<u8>)> {
            names.iter().map(|name| (*name, Vec::new())).collect()
        };
        let check = |tasks: &[(&str, Vec<u8>)]| {
            Bundle { kernel: &[], system: &system, tasks, guest: None }.check_tasks().is_ok()
        };
        assert!(check(&images(&["vmx", "memory", "liveupdate"])));
        assert!(!check(&images(&["vmx", "memory"])));
        assert!(!check(&images(&["vmx", "memory", "liveupdate", "other"])));
    }

    #[test]
    fn what_is_aligned_starts_on_a_page() {
        for length in (0..10_000).step_by(300) {
            let mut archive = tar::Builder::new(Vec::new());
            add(&mut archive, "guest/kernel", &vec![1; length]).expect("added");
            align(&mut archive).expect("aligned");
            add(&mut archive, "guest/initrd", b"0707").expect("added");
            let bytes = archive.into_inner().expect("finished");
            let place = bytes.windows(4).position(|bytes| bytes == b"0707").expect("there");
            assert_eq!(place % 4096, 0, "{length}");
        }
    }

    #[test]
    fn an_archive_is_read_back() {
        let mut archive = tar::Builder::new(Vec::new());
        add(&mut archive, "guest/cmdline", b"quiet").expect("added");
        let bytes = archive.into_inner().expect("finished");
        assert_eq!(bytes.get(257..262), Some(&b"ustar"[..]));
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                (entry.path().expect("a path").into_owned(), entry.size())
            })
            .collect();
        assert_eq!(names, [("guest/cmdline".into(), 5)]);
    }
}
