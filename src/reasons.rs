//! Enums of reasons, each with the label that logs and metrics know it by.
//!
//! The macro is textual: whoever has reasons writes `reasons! { … }` and uses no other layer for it.

/// Makes an enum of reasons with a label for each.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$why:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$why])* $variant,)+ }

        impl $name {
            /// Every reason, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The label in logs and counters.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}
