//! Fixed-size little-endian records, read and written without `unsafe`.

/// Where a field stands in its record. The C header is compared with these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name, the same in Rust and C.
    pub name: &'static str,
    /// Offset from the start of the record in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// A value that can stand in a record.
pub(crate) trait Value: Sized {
    const SIZE: usize;
    const ALIGN: usize;

    /// Reads the value from exactly [`Self::SIZE`] bytes.
    fn get(bytes: &[u8]) -> Option<Self>;

    /// Writes the value to exactly [`Self::SIZE`] bytes.
    fn put(&self, bytes: &mut [u8]) -> Option<()>;
}

macro_rules! integer_value {
    ($($type:ty),+) => { $(
        impl Value for $type {
            const SIZE: usize = size_of::<$type>();
            const ALIGN: usize = size_of::<$type>();

            fn get(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(<$type>::from_le_bytes)
            }

            fn put(&self, bytes: &mut [u8]) -> Option<()> {
                (bytes.len() == Self::SIZE).then(|| bytes.copy_from_slice(&self.to_le_bytes()))
            }
        }
    )+ };
}

integer_value!(u8, u32, u64);

impl<T: Value + Copy + Default, const N: usize> Value for [T; N] {
    const SIZE: usize = N * T::SIZE;
    const ALIGN: usize = T::ALIGN;

    fn get(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::SIZE {
            return None;
        }
        let mut values = [T::default(); N];
        for (value, chunk) in values.iter_mut().zip(bytes.chunks_exact(T::SIZE)) {
            *value = T::get(chunk)?;
        }
        Some(values)
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        if bytes.len() != Self::SIZE {
            return None;
        }
        for (value, chunk) in self.iter().zip(bytes.chunks_exact_mut(T::SIZE)) {
            value.put(chunk)?;
        }
        Some(())
    }
}

/// Splits off the next value of a record that is being read.
pub(crate) fn take<T: Value>(rest: &mut &[u8]) -> Option<T> {
    let (head, tail) = rest.split_at_checked(T::SIZE)?;
    *rest = tail;
    T::get(head)
}

/// Splits off the place of the next value of a record that is being written.
pub(crate) fn give<T: Value>(value: &T, rest: &mut &mut [u8]) -> Option<()> {
    let (head, tail) = core::mem::take(rest).split_at_mut_checked(T::SIZE)?;
    *rest = tail;
    value.put(head)
}

/// Defines a record: a structure with a fixed layout, no padding, fields in order.
///
/// It does not compile when a field would not be naturally aligned or the size is not the one
/// stated, so the layout cannot change by accident.
macro_rules! record {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident = $c_name:literal, $size:literal bytes {
            $( $(#[$field_attribute:meta])* pub $field:ident: $type:ty, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_attribute])* pub $field: $type, )+
        }

        impl $name {
            /// Size of the record in bytes.
            pub const SIZE: usize = $size;

            /// Name of the structure in the C header, without `struct`.
            pub const C_NAME: &'static str = $c_name;

            /// Every field with its place.
            pub const FIELDS: &'static [$crate::record::Field] = &{
                let mut end = 0_usize;
                [ $( {
                    let offset = end;
                    let size = <$type as $crate::record::Value>::SIZE;
                    assert!(
                        offset.is_multiple_of(<$type as $crate::record::Value>::ALIGN),
                        "a field is not naturally aligned"
                    );
                    end = offset + size;
                    assert!(end <= $size, "the record is larger than stated");
                    $crate::record::Field { name: stringify!($field), offset, size }
                }, )+ ]
            };

            /// Reads a record from the start of `bytes`; `None` when they are too few.
            #[must_use]
            pub fn read(bytes: &[u8]) -> Option<Self> {
                let mut rest = bytes;
                let record = Self {
                    $( $field: $crate::record::take::<$type>(&mut rest)?, )+
                };
                Some(record)
            }

            /// Writes the record to the start of `bytes`; `None` when they are too few.
            pub fn write(&self, bytes: &mut [u8]) -> Option<()> {
                let mut rest = bytes.get_mut(..Self::SIZE)?;
                $( $crate::record::give(&self.$field, &mut rest)?; )+
                Some(())
            }

            /// The record as bytes.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; $size] {
                let mut bytes = [0; $size];
                let written = self.write(&mut bytes);
                debug_assert!(written.is_some());
                bytes
            }
        }

        const _: () = {
            let total = 0 $( + <$type as $crate::record::Value>::SIZE )+;
            assert!(total == $size, "the record does not have the stated size");
            assert!($size % 8 == 0, "records are multiples of eight bytes");
        };

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::record::Zero::zero(), )+ }
            }
        }
    };
}

/// The all-zero value of a field; arrays longer than 32 have no `Default`.
pub(crate) trait Zero {
    fn zero() -> Self;
}

impl Zero for u32 {
    fn zero() -> Self {
        0
    }
}

impl Zero for u64 {
    fn zero() -> Self {
        0
    }
}

impl<T: Copy + Default, const N: usize> Zero for [T; N] {
    fn zero() -> Self {
        [T::default(); N]
    }
}
