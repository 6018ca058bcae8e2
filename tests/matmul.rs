//! The matrix product against its reference.

mod common;

#[test]
fn agrees_with_the_reference() {
    common::validate("matmul", 60);
}
