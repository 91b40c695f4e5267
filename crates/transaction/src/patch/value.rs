//! Values: some bytes of the guest's objects that an update changes.

use serde::{Deserialize, Serialize};

use super::Name;

/// Most bytes of a value.
pub const VALUE_MAX: usize = 16;
/// Most values of an update.
pub const VALUES_MAX: usize = 64;

/// The bytes of a value.
pub type Bytes = heapless::Vec<u8, VALUE_MAX>;

/// A value that is to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ValuePlan {
    /// What the bytes are called.
    pub name: Name,
    /// Address of the first one.
    pub address: u64,
    /// What must be there before, and what a rollback writes; zero where the mask has no bit.
    pub old: Bytes,
    /// What is there afterwards, in the same way.
    pub new: Bytes,
    /// Which bits are compared and changed. All others are somebody else's.
    pub mask: Bytes,
    /// Where something else is there before, it is left alone.
    pub if_default: bool,
    /// Number of the patch whose value is changed, 0 for none. Filled in when the update is applied.
    pub below: u32,
}

impl ValuePlan {
    /// Whether the plan can be carried out at all.
    pub(crate) fn is_sound(&self) -> bool {
        let length = self.mask.len();
        let is_masked = |bytes: &Bytes| {
            bytes.len() == length
                && bytes.iter().zip(&self.mask).all(|(byte, mask)| byte & !mask == 0)
        };
        length > 0
            && is_masked(&self.old)
            && is_masked(&self.new)
            && self.address.checked_add(length as u64).is_some()
    }

    /// Address behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.address.saturating_add(self.mask.len() as u64)
    }

    /// Whether both have a bit that is the same one.
    pub(crate) fn shares_bits_with(&self, other: &Self) -> bool {
        let mask_at = |address: u64| {
            let offset = address.checked_sub(other.address)?;
            other.mask.get(usize::try_from(offset).ok()?)
        };
        let addresses = self.address..self.end();
        let mut masks = addresses.zip(&self.mask);
        masks.any(|(address, mask)| mask_at(address).is_some_and(|other| mask & other != 0))
    }

    /// Whether both are exactly the same bits.
    pub(crate) fn is_place_of(&self, other: &Self) -> bool {
        self.address == other.address && self.mask == other.mask
    }

    /// Whether the bits that are there are those of `bytes`, which is the old or the new value.
    pub fn holds(&self, now: &[u8], bytes: &[u8]) -> bool {
        self.masked(now).is_some_and(|now| now.as_slice() == bytes)
    }

    /// Whether each byte that is there is that of the old or of the new value, so that a write of one
    /// over the other may have ended there.
    pub(crate) fn is_between(&self, now: &[u8]) -> bool {
        let Some(now) = self.masked(now) else { return false };
        let pairs = self.old.iter().zip(&self.new);
        now.iter().zip(pairs).all(|(now, (old, new))| now == old || now == new)
    }

    /// The bits that are there.
    fn masked(&self, now: &[u8]) -> Option<Bytes> {
        (now.len() == self.mask.len())
            .then(|| now.iter().zip(&self.mask).map(|(byte, mask)| byte & mask).collect())
    }

    /// `bytes` with all bits that are not ours as they are now.
    pub(crate) fn over(&self, now: &[u8], bytes: &[u8]) -> Bytes {
        let pairs = now.iter().zip(bytes).zip(&self.mask);
        pairs.map(|((now, byte), mask)| now & !mask | byte).collect()
    }
}

/// What became of a value, as far as this update is concerned. The number is what the journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ValueState {
    /// Nothing of this update is there.
    Untouched = 0,
    /// The new value was written.
    Written = 1,
    /// Something else than the old value was there, and stays.
    LeftAlone = 2,
    /// The new value was written, and something else was found there when it was to be taken back.
    Overwritten = 3,
}

impl ValueState {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Untouched, Self::Written, Self::LeftAlone, Self::Overwritten]
            .into_iter()
            .find(|state| *state as u8 == byte)
    }
}

/// A value of an update that the journal knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// Its place in the journal.
    pub slot: usize,
    /// What was planned.
    pub plan: ValuePlan,
    /// What became of it.
    pub state: ValueState,
}

impl Value {
    /// Whether the update wrote it. What the guest made of it since does not matter.
    pub const fn is_ours(&self) -> bool {
        matches!(self.state, ValueState::Written | ValueState::Overwritten)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, ValuePlan};

    fn bytes(bytes: &[u8]) -> Bytes {
        Bytes::from_slice(bytes).unwrap()
    }

    fn plan(address: u64, old: &[u8], new: &[u8], mask: &[u8]) -> ValuePlan {
        ValuePlan {
            name: "value".try_into().unwrap(),
            address,
            old: bytes(old),
            new: bytes(new),
            mask: bytes(mask),
            if_default: false,
            below: 0,
        }
    }

    #[test]
    fn bits_outside_the_mask_are_somebody_elses() {
        let value = plan(100, &[0x10, 0], &[0x20, 1], &[0x30, 1]);
        assert!(value.is_sound());
        assert!(value.holds(&[0xd0, 0xfe], &value.old));
        assert!(value.holds(&[0x2f, 0x01], &value.new));
        assert!(!value.holds(&[0x30, 0], &value.old) && !value.holds(&[0x10], &value.old));
        assert!(value.is_between(&[0x2f, 0xfe]), "the first byte is written");
        assert!(!value.is_between(&[0x3f, 0]));
        assert_eq!(value.over(&[0xdf, 0xfe], &value.new), [0xef, 0xff]);
    }

    #[test]
    fn values_meet_in_bits() {
        let value = |address, mask: &[u8]| plan(address, &vec![0; mask.len()], mask, mask);
        let one = value(100, &[1, 0, 2]);
        assert!(one.shares_bits_with(&value(102, &[2])) && one.shares_bits_with(&one));
        assert!(!one.shares_bits_with(&value(102, &[1, 0xff])));
        assert!(
            !one.shares_bits_with(&value(99, &[0xff])) && !one.shares_bits_with(&value(103, &[2]))
        );
        assert!(one.shares_bits_with(&value(98, &[0, 0, 0xff])));
        assert!(one.is_place_of(&value(100, &[1, 0, 2])) && !one.is_place_of(&value(100, &[1])));
    }

    #[test]
    fn what_does_not_fit_together_is_not_sound() {
        assert!(!plan(1, &[], &[], &[]).is_sound());
        assert!(!plan(1, &[0], &[1, 2], &[3, 3]).is_sound());
        assert!(!plan(1, &[2], &[1], &[1]).is_sound());
        assert!(!plan(u64::MAX, &[0], &[1], &[1]).is_sound());
    }
}
