//! Structures whose layout differs.

use std::collections::BTreeMap;

use crate::comparison::LayoutChange;
use crate::debug_info::{DebugInfo, Field, Layout};

/// The structures that both objects have, in different layouts.
pub(crate) fn changes(before: &DebugInfo, after: &DebugInfo) -> Vec<LayoutChange> {
    let both = before.layouts.iter().filter_map(|(name, old)| {
        let fields = differences(old, after.layouts.get(name)?);
        (!fields.is_empty()).then(|| LayoutChange { name: name.clone(), fields })
    });
    both.collect()
}

/// What differs, for a person. A field with another name in the same place is none.
fn differences(old: &Layout, new: &Layout) -> Vec<String> {
    let mut list = Vec::new();
    let by_name = |layout: &'_ Layout| -> BTreeMap<String, Field> {
        layout.fields.iter().map(|field| (field.name.clone(), field.clone())).collect()
    };
    let (olds, news) = (by_name(old), by_name(new));
    let is_in = |field: &Field, layout: &Layout| {
        let same = |other: &Field| (other.offset, other.size) == (field.offset, field.size);
        layout.fields.iter().any(same)
    };
    for (name, field) in &olds {
        match news.get(name) {
            Some(now) if now.offset != field.offset => {
                list.push(format!("{name} moves from {} to {}", place(field), place(now)));
            }
            Some(now) if now.size != field.size => {
                list.push(format!("{name} has {} instead of {}", size(now), size(field)));
            }
            None if !is_in(field, new) => list.push(format!("{name} goes")),
            _ => {}
        }
    }
    for (name, field) in &news {
        if !olds.contains_key(name) && !is_in(field, old) {
            list.push(format!("{name} is added at {} ({})", place(field), size(field)));
        }
    }
    if old.size != new.size {
        list.push(format!("its size of {} bytes becomes {}", old.size, new.size));
    }
    list
}

fn place(field: &Field) -> String {
    match field.offset % 8 {
        0 => format!("byte {}", field.offset / 8),
        bit => format!("byte {} bit {bit}", field.offset / 8),
    }
}

fn size(field: &Field) -> String {
    match (field.size / 8, field.size % 8) {
        (1, 0) => "1 byte".to_owned(),
        (bytes, 0) => format!("{bytes} bytes"),
        _ => format!("{} bits", field.size),
    }
}
