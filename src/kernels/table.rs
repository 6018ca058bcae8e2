//! The one table of all shaders: name, text, bindings and specialisations. A shader's kernel and its CPU reference follow from
//! its name: [`Shader::kernel`].

use super::{
    adam, additive_attention, alignment_loss, beam_search, ceiling, copy, coverage_loss, cross_entropy,
    dot_product_attention, dropout, embedding, gru, matmul, pointwise, reduction, softmax,
};
use crate::gpu::{Shader, Shared};

macro_rules! shaders {
    ($($constant:ident = $name:literal, $specialisations:path;)*) => {
        $(
            #[doc = concat!("`shaders/", $name, ".wgsl`")]
            pub(crate) static $constant: Shader = Shader {
                name: $name,
                text: include_str!(concat!("../../shaders/", $name, ".wgsl")),
                library: SHARED,
                specialisations: $specialisations,
            };
        )*
        /// Every shader of the crate.
        pub static SHADERS: &[&Shader] = &[$(&$constant),*];
    };
}

shaders! {
    ADAM = "adam", adam::updates;
    ADAM_NORM = "adam/norm", adam::norms;
    ADAM_SETTINGS = "adam/settings", adam::reductions;
    ADDITIVE_ATTENTION = "additive_attention", additive_attention::forwards;
    ADDITIVE_ATTENTION_BACKWARD = "additive_attention_backward", additive_attention::backwards;
    ADDITIVE_ATTENTION_BOTH_BACKWARD = "additive_attention/both_backward", additive_attention::both_backwards;
    ADDITIVE_ATTENTION_ENERGY_BACKWARD = "additive_attention/energy_backward", additive_attention::energy_backwards;
    ADDITIVE_ATTENTION_SCORE_BACKWARD = "additive_attention/score_backward", additive_attention::score_backwards;
    ALIGNMENT_LOSS = "alignment_loss", alignment_loss::forwards;
    ALIGNMENT_LOSS_BACKWARD = "alignment_loss_backward", alignment_loss::backwards;
    BEAM_SEARCH = "beam_search", beam_search::candidates;
    BEAM_SEARCH_ADJUST = "beam_search/adjust", beam_search::adjustments;
    BEAM_SEARCH_ATTEND = "beam_search/attend", beam_search::single;
    BEAM_SEARCH_COUNT = "beam_search/count", beam_search::single;
    BEAM_SEARCH_FOLLOW = "beam_search/follow", beam_search::by_width;
    BEAM_SEARCH_GREEDY = "beam_search/greedy", beam_search::choices;
    BEAM_SEARCH_MERGE = "beam_search/merge", beam_search::by_width;
    BEAM_SEARCH_SAMPLE = "beam_search/sample", beam_search::choices;
    BEAM_SEARCH_START = "beam_search/start", beam_search::by_width;
    CEILING_ARITHMETIC = "ceiling/arithmetic", ceiling::arithmetics;
    CEILING_MEMORY = "ceiling/memory", ceiling::memories;
    COPY = "copy", copy::specialisations;
    COVERAGE_LOSS = "coverage_loss", coverage_loss::forwards;
    COVERAGE_LOSS_BACKWARD = "coverage_loss_backward", coverage_loss::backwards;
    CROSS_ENTROPY = "cross_entropy", cross_entropy::forwards;
    CROSS_ENTROPY_BACKWARD = "cross_entropy_backward", cross_entropy::backwards;
    CROSS_ENTROPY_TOTAL = "cross_entropy/total", cross_entropy::totals;
    DOT_PRODUCT_ATTENTION = "dot_product_attention", dot_product_attention::forwards;
    DOT_PRODUCT_ATTENTION_BACKWARD = "dot_product_attention_backward", dot_product_attention::backwards;
    DOT_PRODUCT_ATTENTION_DELTA_BACKWARD = "dot_product_attention/delta_backward", dot_product_attention::deltas;
    DROPOUT = "dropout", dropout::specialisations;
    EMBEDDING = "embedding", embedding::by_width;
    EMBEDDING_BACKWARD = "embedding_backward", embedding::by_width;
    EMBEDDING_RANK = "embedding/rank", embedding::sorts;
    EMBEDDING_SORT = "embedding/sort", embedding::sorts;
    GRU = "gru", gru::forwards;
    GRU_BACKWARD = "gru_backward", gru::backwards;
    MATMUL = "matmul", matmul::specialisations;
    MATMUL_ROW = "matmul/row", matmul::rows;
    POINTWISE = "pointwise", pointwise::specialisations;
    POINTWISE_BACKWARD = "pointwise_backward", pointwise::specialisations;
    REDUCTION = "reduction", reduction::totals;
    REDUCTION_BACKWARD = "reduction_backward", reduction::spreads;
    REDUCTION_COLUMNS = "reduction/columns", reduction::columns;
    SOFTMAX = "softmax", softmax::forwards;
    SOFTMAX_BACKWARD = "softmax_backward", softmax::backwards;
}

macro_rules! shared {
    ($($name:literal),* $(,)?) => {
        /// What shaders import.
        pub static SHARED: &[Shared] = &[
            $(Shared { name: $name, text: include_str!(concat!("../../shaders/shared/", $name, ".wgsl")) }),*
        ];
    };
}

shared![
    "attention_tiles",
    "element",
    "factored_tanh",
    "fed",
    "four",
    "lanes",
    "linear",
    "logits",
    "math",
    "normaliser",
    "pieces",
    "random",
    "reduce",
    "search",
    "step"
];
