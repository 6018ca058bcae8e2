//! The browser door: classes for a page's script. They turn what goes in and out into JavaScript's types and errors into its `Error`,
//! and hold no logic.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod device;
mod model;
mod training;

use wasm_bindgen::prelude::*;

/// What the program would say to a terminal before it ends, the page's console says.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
}
