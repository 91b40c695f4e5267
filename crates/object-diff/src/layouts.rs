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

/// What differs, for a person. A field with another name in the same place is none, nor another
/// spelling of its type.
fn differences(old: &Layout, new: &Layout) -> Vec<String> {
    let mut list = Vec::new();
    let by_name = |layout: &'_ Layout| -> BTreeMap<String, Field> {
        layout.fields.iter().map(|field| (field.name.clone(), field.clone())).collect()
    };
    let (olds, news) = (by_name(old), by_name(new));
    // Who uses a field of a header may be compiled without the change: with another type the code
    // would be another. Who uses one of the C file's own is compiled with it, so all that counts is
    // what objects hold already.
    let is_private = old.is_private && new.is_private;
    let is_same_kind = |field: &Field, now: &Field| {
        field.kind == now.kind || is_private && now.kind.holds_values_of(&field.kind)
    };
    // By another name, or by one that was there besides it.
    let stays =
        |field: &Field, now: &Field| is_same_kind(field, now) || olds.contains_key(&now.name);
    for (name, field) in &olds {
        match news.get(name) {
            Some(now) if now.offset != field.offset => {
                list.push(format!("{name} moves from {} to {}", place(field), place(now)));
            }
            Some(now) if now.size != field.size => {
                list.push(format!("{name} has {} instead of {}", size(now), size(field)));
            }
            Some(now) if !is_same_kind(field, now) => {
                list.push(format!("{name} is {} instead of {}", now.kind, field.kind));
            }
            Some(_) => {}
            None => {
                let mut there = in_place(field, new).peekable();
                match there.peek().copied() {
                    None => list.push(format!("{name} goes")),
                    Some(_) if there.any(|now| stays(field, now)) => {}
                    Some(now) => list.push(format!(
                        "{name} ({}) becomes {} ({})",
                        field.kind, now.name, now.kind
                    )),
                }
            }
        }
    }
    for (name, field) in &news {
        if !olds.contains_key(name) && in_place(field, old).next().is_none() {
            list.push(format!("{name} is added at {} ({})", place(field), size(field)));
        }
    }
    if old.size != new.size {
        list.push(format!("its size of {} bytes becomes {}", old.size, new.size));
    }
    list
}

/// The fields of a layout that take the place of a field.
fn in_place<'a>(field: &Field, layout: &'a Layout) -> impl Iterator<Item = &'a Field> {
    let place = (field.offset, field.size);
    layout.fields.iter().filter(move |other| (other.offset, other.size) == place)
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
