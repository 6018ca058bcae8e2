//! Operands by name. A node has lists of inputs and outputs; an operation declares once which name stands at which place, and
//! the code that makes, differentiates or records a node uses the names.

use crate::{Error, Result};

/// Declares a list of operands: a struct whose fields are values of a graph, or tensors, in the order of the list.
macro_rules! operands {
    ($(#[$about:meta])* $name:ident { $($operand:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name<T> {
            $(pub(super) $operand: T),+
        }

        #[allow(dead_code, reason = "each list of operands is made, taken apart or both")]
        impl<T> $name<T> {
            /// The number of operands.
            pub(super) const COUNT: usize = [$(stringify!($operand)),+].len();

            /// The operands in order.
            pub(super) fn list(self) -> Vec<T> {
                vec![$(self.$operand),+]
            }

            /// The same of each operand.
            pub(super) fn map<U>(self, mut of: impl FnMut(T) -> U) -> $name<U> {
                $name { $($operand: of(self.$operand)),+ }
            }

            /// The first operands of a list, and those that follow.
            pub(super) fn first_of(list: &[T]) -> crate::Result<($name<&T>, &[T])> {
                match list {
                    [$($operand,)+ rest @ ..] => Ok(($name { $($operand),+ }, rest)),
                    _ => Err($crate::graph::operands::missing(&[$(stringify!($operand)),+], list.len())),
                }
            }

            /// The operands of a list that has no others.
            pub(super) fn of(list: &[T]) -> crate::Result<$name<&T>> {
                match $name::first_of(list)? {
                    (operands, []) => Ok(operands),
                    _ => Err($crate::graph::operands::missing(&[$(stringify!($operand)),+], list.len())),
                }
            }
        }
    };
}
pub(super) use operands;

/// The first operands of a list, all of one kind, and those that follow.
pub(super) fn split<T>(list: &[T], count: usize) -> Result<(&[T], &[T])> {
    list.split_at_checked(count).ok_or_else(|| missing(&[], list.len()))
}

/// The error of a node that was made with other operands than it is recorded with.
pub(super) fn missing(wanted: &[&str], got: usize) -> Error {
    Error::Shape { operation: "graph", argument: "operands", wanted: wanted.join(", "), got: format!("{got} operands") }
}
