//! The gated recurrent unit against its reference.

mod common;

#[test]
fn agrees_with_the_reference() {
    common::validate("gru", 25);
}
