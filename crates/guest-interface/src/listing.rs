//! Enumerations whose members have a number, a C name and a one-line meaning.

/// Defines an enumeration with explicit numbers, together with the tables that the C header is
/// compared with.
macro_rules! listing {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident {
            $( $member:ident = $number:literal, $c_name:literal, $meaning:literal; )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name {
            $( #[doc = $meaning] $member = $number, )+
        }

        impl $name {
            /// Every member, in ascending order of its number.
            pub const ALL: &'static [Self] = &[ $( Self::$member, )+ ];

            /// The member with this number.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$member), )+
                    _ => None,
                }
            }

            /// The number that crosses the interface.
            #[must_use]
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// The member's name in the C header, without its prefix.
            #[must_use]
            pub const fn c_name(self) -> &'static str {
                match self {
                    $( Self::$member => $c_name, )+
                }
            }

            /// What the member means, in one line.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $( Self::$member => $meaning, )+
                }
            }
        }
    };
}
