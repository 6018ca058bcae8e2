//! The one table of all shaders: name, text, bindings and specialisations. A shader's kernel and its CPU reference follow from
//! its name: [`Shader::kernel`].

use super::{
    adam, additive_attention, alignment_loss, beam_search, ceiling, copy, coverage_loss, cross_entropy,
    dot_product_attention, dropout, embedding, gru, matmul, pointwise, reduction, softmax,
};
use crate::gpu::{
    Binding::{Read, Uniform, Write},
    Shader, Shared,
};

macro_rules! shaders {
    ($($constant:ident = $name:literal [$($binding:ident),*] $specialisations:path;)*) => {
        $(
            #[doc = concat!("`shaders/", $name, ".wgsl`")]
            pub(crate) static $constant: Shader = Shader {
                name: $name,
                text: include_str!(concat!("../../shaders/", $name, ".wgsl")),
                bindings: &[$($binding),*],
                library: SHARED,
                specialisations: $specialisations,
                trusted: true,
            };
        )*
        /// Every shader of the crate.
        pub static SHADERS: &[&Shader] = &[$(&$constant),*];
    };
}

shaders! {
    ADAM = "adam" [Uniform, Read, Read, Write, Write, Write, Write] adam::updates;
    ADAM_NORM = "adam/norm" [Uniform, Uniform, Read, Write, Write] adam::norms;
    ADAM_SETTINGS = "adam/settings" [Uniform, Uniform, Read, Write, Write, Write] adam::reductions;
    ADDITIVE_ATTENTION =
        "additive_attention" [Uniform, Read, Read, Read, Read, Read, Write, Write] additive_attention::forwards;
    ADDITIVE_ATTENTION_BACKWARD =
        "additive_attention_backward" [Uniform, Read, Read, Read, Read, Read, Write, Write] additive_attention::backwards;
    ADDITIVE_ATTENTION_BOTH_BACKWARD =
        "additive_attention/both_backward" [Uniform, Read, Read, Read, Read, Read, Write, Write, Write] additive_attention::both_backwards;
    ADDITIVE_ATTENTION_ENERGY_BACKWARD =
        "additive_attention/energy_backward" [Uniform, Read, Write] additive_attention::energy_backwards;
    ADDITIVE_ATTENTION_SCORE_BACKWARD =
        "additive_attention/score_backward" [Uniform, Read, Read, Read, Read, Read, Write] additive_attention::score_backwards;
    ALIGNMENT_LOSS = "alignment_loss" [Uniform, Uniform, Read, Read, Write] alignment_loss::forwards;
    ALIGNMENT_LOSS_BACKWARD =
        "alignment_loss_backward" [Uniform, Uniform, Read, Read, Read, Write] alignment_loss::backwards;
    BEAM_SEARCH = "beam_search" [Uniform, Read, Write, Write] beam_search::candidates;
    BEAM_SEARCH_ADJUST = "beam_search/adjust" [Uniform, Read, Write, Read, Write, Write] beam_search::adjustments;
    BEAM_SEARCH_ATTEND = "beam_search/attend" [Uniform, Read, Write, Read, Write] beam_search::single;
    BEAM_SEARCH_COUNT = "beam_search/count" [Uniform, Write] beam_search::single;
    BEAM_SEARCH_FOLLOW =
        "beam_search/follow" [Uniform, Read, Read, Read, Write, Read, Write, Write] beam_search::by_width;
    BEAM_SEARCH_GREEDY =
        "beam_search/greedy" [Uniform, Read, Write, Read, Write, Read, Write] beam_search::choices;
    BEAM_SEARCH_MERGE =
        "beam_search/merge" [Uniform, Read, Write, Read, Write, Read, Write, Write] beam_search::by_width;
    BEAM_SEARCH_SAMPLE =
        "beam_search/sample" [Uniform, Read, Write, Read, Write, Read, Write, Read] beam_search::choices;
    BEAM_SEARCH_START =
        "beam_search/start" [Uniform, Read, Write, Read, Write, Read, Write, Read, Write] beam_search::by_width;
    CEILING_ARITHMETIC = "ceiling/arithmetic" [Uniform, Write] ceiling::arithmetics;
    CEILING_MEMORY = "ceiling/memory" [Uniform, Read, Write] ceiling::memories;
    COPY = "copy" [Uniform, Read, Read, Write] copy::specialisations;
    COVERAGE_LOSS = "coverage_loss" [Uniform, Uniform, Read, Read, Write] coverage_loss::forwards;
    COVERAGE_LOSS_BACKWARD =
        "coverage_loss_backward" [Uniform, Uniform, Read, Read, Read, Write] coverage_loss::backwards;
    CROSS_ENTROPY = "cross_entropy" [Uniform, Read, Read, Write, Write] cross_entropy::forwards;
    CROSS_ENTROPY_BACKWARD =
        "cross_entropy_backward" [Uniform, Uniform, Read, Read, Read, Write] cross_entropy::backwards;
    CROSS_ENTROPY_TOTAL = "cross_entropy/total" [Uniform, Uniform, Read, Write] cross_entropy::totals;
    DOT_PRODUCT_ATTENTION =
        "dot_product_attention" [Uniform, Read, Read, Read, Read, Write, Write] dot_product_attention::forwards;
    DOT_PRODUCT_ATTENTION_BACKWARD =
        "dot_product_attention_backward" [Uniform, Read, Read, Read, Read, Read, Read, Write, Write] dot_product_attention::backwards;
    DOT_PRODUCT_ATTENTION_DELTA_BACKWARD =
        "dot_product_attention/delta_backward" [Uniform, Read, Read, Read, Write] dot_product_attention::deltas;
    DROPOUT = "dropout" [Uniform, Uniform, Read, Write] dropout::specialisations;
    EMBEDDING = "embedding" [Uniform, Read, Read, Write] embedding::by_width;
    EMBEDDING_BACKWARD = "embedding_backward" [Uniform, Read, Read, Write] embedding::by_width;
    EMBEDDING_RANK = "embedding/rank" [Uniform, Read, Write] embedding::sorts;
    EMBEDDING_SORT = "embedding/sort" [Uniform, Read, Write] embedding::sorts;
    GRU = "gru" [Uniform, Read, Read, Read, Read, Write, Write, Write] gru::forwards;
    GRU_BACKWARD = "gru_backward" [Uniform, Read, Read, Read, Read, Read, Write, Write, Write] gru::backwards;
    MATMUL = "matmul" [Uniform, Read, Read, Read, Write] matmul::specialisations;
    MATMUL_ROW = "matmul/row" [Uniform, Read, Read, Read, Write] matmul::rows;
    POINTWISE = "pointwise" [Uniform, Read, Read, Write] pointwise::specialisations;
    POINTWISE_BACKWARD = "pointwise_backward" [Uniform, Read, Read, Write] pointwise::specialisations;
    REDUCTION = "reduction" [Uniform, Read, Write] reduction::totals;
    REDUCTION_BACKWARD = "reduction_backward" [Uniform, Read, Read, Write] reduction::spreads;
    REDUCTION_COLUMNS = "reduction/columns" [Uniform, Read, Write] reduction::columns;
    SOFTMAX = "softmax" [Uniform, Read, Read, Write] softmax::forwards;
    SOFTMAX_BACKWARD = "softmax_backward" [Uniform, Read, Read, Write] softmax::backwards;
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
    "specials",
    "step"
];
