//! How a kernel declares its shaders, and the files that all of them may import.

use crate::gpu::Shared;

/// The shader `shaders/NAME.wgsl`, and the function that lists its specialisations.
macro_rules! shader {
    ($name:literal, $specialisations:expr) => {
        crate::gpu::Shader {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
            library: crate::kernels::library::SHARED,
            specialisations: $specialisations,
        }
    };
}
pub(super) use shader;

macro_rules! shared {
    ($($name:literal),* $(,)?) => {
        /// What shaders import.
        pub static SHARED: &[Shared] = &[
            $(Shared { name: $name, text: include_str!(concat!("../../shaders/shared/", $name, ".wgsl")) }),*
        ];
    };
}

shared![
    "attention_bias",
    "attention_distances",
    "attention_dropout",
    "attention_lines",
    "attention_loads",
    "attention_places",
    "attention_softmax",
    "attention_tiles",
    "attention_window",
    "block",
    "cache",
    "element",
    "factor",
    "factored_tanh",
    "fed",
    "four",
    "gelu",
    "gru_gates",
    "heads",
    "keys_sum",
    "lanes",
    "linear",
    "load",
    "load_piece",
    "logits",
    "lsh_places",
    "math",
    "normaliser",
    "one",
    "pieces",
    "position_buckets",
    "product",
    "random",
    "reduce",
    "relative_gradients",
    "search",
    "single_row",
    "slices",
    "span_gradients",
    "span_keys",
    "span_mask",
    "specials",
    "staged",
    "step",
    "store",
    "store_piece",
    "texel",
    "window",
    "words",
];
