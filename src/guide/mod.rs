//! The guide: what the options mean that `--help` lists, how to measure and check, what was reached, the doors to Rust, Python, C and the
//! browser, and how the house is built.

#[doc = include_str!("training.md")]
pub mod training {}

#[doc = include_str!("ranks.md")]
pub mod ranks {}

#[doc = include_str!("generation.md")]
pub mod generation {}

#[doc = include_str!("checkpoints.md")]
pub mod checkpoints {}

#[doc = include_str!("measuring.md")]
pub mod measuring {}

#[doc = include_str!("results.md")]
pub mod results {}

#[doc = include_str!("rust.md")]
pub mod rust {}

#[doc = include_str!("python.md")]
pub mod python {}

#[doc = include_str!("c.md")]
pub mod c {}

#[doc = include_str!("browser.md")]
pub mod browser {}

#[doc = include_str!("house.md")]
pub mod house {}
