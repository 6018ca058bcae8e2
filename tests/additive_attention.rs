//! Additive attention against its reference.

mod common;

#[test]
fn agrees_with_the_reference() {
    common::validate("additive_attention", 24);
}
