//! The browser's adapter.

use softalign::GpuOptions;
use wasm_bindgen::prelude::*;

/// An adapter, opened. Shaders run in the form that every adapter takes.
#[wasm_bindgen]
pub struct Gpu(pub(crate) softalign::Gpu);

#[wasm_bindgen]
impl Gpu {
    /// Opens the adapter that the browser offers.
    pub async fn open() -> Result<Gpu, JsError> {
        let options = GpuOptions { portable: true, ..GpuOptions::default() };
        Ok(Self(softalign::Gpu::open_async(&options).await?))
    }
}
