//! Scaled dot-product attention against its reference, and what no random case shows.

mod common;

#[test]
fn agrees_with_the_reference() {
    common::validate("dot_product_attention", 60);
}
