//! The one table of all shaders: name, text and bindings. A kernel's CPU reference has the same name in [`crate::reference`].

use crate::gpu::{
    Binding::{Read, Uniform, Write},
    Shader, Shared,
};

macro_rules! shaders {
    ($($constant:ident = $name:literal [$($binding:ident),*];)*) => {
        $(
            #[doc = concat!("`shaders/", $name, ".wgsl`")]
            pub(crate) static $constant: Shader = Shader {
                name: $name,
                text: include_str!(concat!("../../shaders/", $name, ".wgsl")),
                bindings: &[$($binding),*],
            };
        )*
        /// Every shader of the crate.
        pub static SHADERS: &[&Shader] = &[$(&$constant),*];
    };
}

shaders! {
    ADAM = "adam" [Uniform, Read, Read, Write, Write, Write];
    ADAM_NORM = "adam_norm" [Uniform, Read, Write];
    ADAM_SETTINGS = "adam_settings" [Uniform, Uniform, Read, Write, Write];
    ADDITIVE_ATTENTION = "additive_attention" [Uniform, Read, Read, Read, Read, Read, Write, Write];
    ADDITIVE_ATTENTION_BACKWARD = "additive_attention_backward" [Uniform, Read, Read, Read, Read, Read, Write, Write];
    ADDITIVE_ATTENTION_ENERGY_BACKWARD = "additive_attention_energy_backward" [Uniform, Read, Write];
    ADDITIVE_ATTENTION_SCORE_BACKWARD = "additive_attention_score_backward" [Uniform, Read, Read, Read, Read, Read, Write];
    BEAM_SEARCH = "beam_search" [Uniform, Read, Read, Read, Write];
    BEAM_SEARCH_COUNT = "beam_search_count" [Uniform, Read, Write, Write];
    BEAM_SEARCH_MERGE = "beam_search_merge" [Uniform, Read, Read, Write, Write, Write, Write, Write, Write];
    COPY = "copy" [Uniform, Read, Read, Write];
    CROSS_ENTROPY = "cross_entropy" [Uniform, Read, Read, Write, Write];
    CROSS_ENTROPY_BACKWARD = "cross_entropy_backward" [Uniform, Uniform, Read, Read, Read, Write];
    CROSS_ENTROPY_TOTAL = "cross_entropy_total" [Uniform, Uniform, Read, Write];
    DOT_PRODUCT_ATTENTION = "dot_product_attention" [Uniform, Read, Read, Read, Read, Write, Write];
    DOT_PRODUCT_ATTENTION_BACKWARD =
        "dot_product_attention_backward" [Uniform, Read, Read, Read, Read, Read, Read, Write, Write];
    DOT_PRODUCT_ATTENTION_DELTA_BACKWARD = "dot_product_attention_delta_backward" [Uniform, Read, Read, Read, Write];
    DROPOUT = "dropout" [Uniform, Uniform, Read, Write];
    EMBEDDING = "embedding" [Uniform, Read, Read, Write];
    EMBEDDING_BACKWARD = "embedding_backward" [Uniform, Read, Read, Write];
    EMBEDDING_RANK = "embedding_rank" [Uniform, Read, Write];
    EMBEDDING_SORT = "embedding_sort" [Uniform, Read, Write];
    GRU = "gru" [Uniform, Read, Read, Read, Read, Write, Write, Write];
    GRU_BACKWARD = "gru_backward" [Uniform, Read, Read, Read, Read, Read, Write, Write, Write];
    MATMUL = "matmul" [Uniform, Read, Read, Read, Write];
    POINTWISE = "pointwise" [Uniform, Read, Read, Write];
    POINTWISE_BACKWARD = "pointwise_backward" [Uniform, Read, Read, Write];
    REDUCTION = "reduction" [Uniform, Read, Write];
    REDUCTION_BACKWARD = "reduction_backward" [Uniform, Read, Read, Write];
    REDUCTION_COLUMNS = "reduction_columns" [Uniform, Read, Write];
    SOFTMAX = "softmax" [Uniform, Read, Read, Write];
    SOFTMAX_BACKWARD = "softmax_backward" [Uniform, Read, Read, Write];
}

macro_rules! shared {
    ($($name:literal),* $(,)?) => {
        /// What shaders import.
        pub static SHARED: &[Shared] = &[
            $(Shared { name: $name, text: include_str!(concat!("../../shaders/shared/", $name, ".wgsl")) }),*
        ];
    };
}

shared!["attention_tiles", "factored_tanh", "four", "lanes", "linear", "math", "random", "reduce", "step"];
