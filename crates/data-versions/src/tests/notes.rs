//! Notes in retained memory.

use crate::VersionId;
use crate::note::{Carrying, Damaged, Note, OPEN_MAX, RECORD, SLOT, change, read};
use crate::pairs::{Pair, Side};
use proptest::prelude::*;

fn note() -> impl Strategy<Value = Note> {
    let carrying = (any::<[u32; 2]>(), any::<[u64; 2]>(), any::<bool>()).prop_map(
        |([patch, version], [object, twin], back)| Carrying {
            version: VersionId { patch, version },
            pair: Pair { object, twin },
            from: if back { Side::Twin } else { Side::Object },
        },
    );
    let pages = prop::collection::vec(any::<u64>(), 1..=OPEN_MAX);
    (pages, prop::option::of(carrying)).prop_map(|(pages, carrying)| Note {
        pages: pages.into_iter().map(|page| page & !0xfff).collect(),
        carrying,
    })
}

/// The first `cut` bytes of what makes a slot hold a note.
fn write(slot: &mut [u8; SLOT], note: Option<&Note>, mut cut: usize) {
    let change = change(slot[0], note);
    if let Some((offset, record)) = change.record {
        let length = cut.min(RECORD);
        slot[offset..offset + length].copy_from_slice(&record[..length]);
        cut -= length;
    }
    if cut > 0 {
        slot[0] = change.state;
    }
}

proptest! {
    #[test]
    fn a_note_is_the_old_or_the_new_one_at_any_cut(
        notes in prop::collection::vec(prop::option::of(note()), 1..6),
    ) {
        let mut slot = [0; SLOT];
        let mut before = None;
        for note in notes {
            for cut in 0..RECORD + 2 {
                let mut slot = slot;
                write(&mut slot, note.as_ref(), cut);
                let now = read(&slot).unwrap();
                let done = if note.is_some() { cut > RECORD } else { cut > 0 };
                prop_assert_eq!(&now, if done { &note } else { &before });
            }
            write(&mut slot, note.as_ref(), usize::MAX);
            prop_assert_eq!(read(&slot), Ok(note.clone()));
            before = note;
        }
    }

    #[test]
    fn any_bytes_are_a_note_or_damaged(bytes in any::<[u8; 32]>(), place in 0..SLOT - 32) {
        let mut slot = [0; SLOT];
        slot[place..place + 32].copy_from_slice(&bytes);
        if let Ok(Some(note)) = read(&slot) {
            prop_assert!((1..=OPEN_MAX).contains(&note.pages.len()));
        }
    }
}

#[test]
fn what_is_no_note_is_told() {
    assert_eq!(read(&[0; SLOT]), Ok(None));
    let mut slot = [0; SLOT];
    slot[0] = 3;
    assert_eq!(read(&slot), Err(Damaged));
    // A note of no page.
    slot[0] = 1;
    assert_eq!(read(&slot), Err(Damaged));
    let mut slot = [0; SLOT];
    let note = Note { pages: [0x1000].into_iter().collect(), carrying: None };
    write(&mut slot, Some(&note), usize::MAX);
    for (offset, byte) in [(8, 5), (9, 2), (10, 2), (9, 1 << 7), (12, 1), (16, 1)] {
        let mut slot = slot;
        slot[offset] |= byte;
        assert_eq!(read(&slot), Err(Damaged), "{offset}");
    }
}
