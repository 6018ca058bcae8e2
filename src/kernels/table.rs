//! The tables of all shaders and of all kernels that can be tuned. A shader's kernel and its CPU reference follow from its name:
//! [`Shader::kernel`].

use super::{
    adam, additive_attention, additive_score, alignment_loss, attention_weights, attentional_decoder, beam_search,
    bounded_step, cached_attention, ceiling, conv1d, copy, coverage_loss, cross_entropy, dot_product_attention,
    dropout, embedding, glu, gru, layer_norm, length_mask, listed_rows, local_attention, lsh_attention, matmul,
    permute, pointwise, positions, reduction, relative_attention, relative_position_bias, sliding_window_attention,
    softmax, span_attention, tunable::TunableKernel,
};
use crate::gpu::{Gpu, Shader, TileTable};

/// Every shader of the crate, as a description: only its kernel launches it without wgpu's checks.
pub static SHADERS: &[&Shader] = &[
    &adam::ADAM,
    &adam::ADAM_NORM,
    &adam::ADAM_SETTINGS,
    &additive_attention::ADDITIVE_ATTENTION,
    &additive_attention::ADDITIVE_ATTENTION_BACKWARD,
    &additive_attention::ADDITIVE_ATTENTION_BOTH_BACKWARD,
    &additive_attention::ADDITIVE_ATTENTION_ENERGY_BACKWARD,
    &additive_attention::ADDITIVE_ATTENTION_SCORE_BACKWARD,
    &additive_score::ADDITIVE_SCORE,
    &alignment_loss::ALIGNMENT_LOSS,
    &alignment_loss::ALIGNMENT_LOSS_BACKWARD,
    &attention_weights::ATTENTION_WEIGHTS,
    &attentional_decoder::ATTENTIONAL_DECODER,
    &attentional_decoder::ATTENTIONAL_DECODER_BACKWARD,
    &beam_search::BEAM_SEARCH,
    &beam_search::BEAM_SEARCH_ADJUST,
    &beam_search::BEAM_SEARCH_ATTEND,
    &beam_search::BEAM_SEARCH_COUNT,
    &beam_search::BEAM_SEARCH_FOLLOW,
    &beam_search::BEAM_SEARCH_GREEDY,
    &beam_search::BEAM_SEARCH_MERGE,
    &beam_search::BEAM_SEARCH_SAMPLE,
    &beam_search::BEAM_SEARCH_START,
    &beam_search::BEAM_SEARCH_TEXTS,
    &bounded_step::BOUNDED_STEP,
    &cached_attention::CACHED_ATTENTION,
    &cached_attention::CACHED_ATTENTION_APPEND,
    &cached_attention::CACHED_ATTENTION_FOLLOW,
    &cached_attention::CACHED_ATTENTION_MERGE,
    &ceiling::CEILING_ARITHMETIC,
    &ceiling::CEILING_MEMORY,
    &conv1d::CONV1D,
    &conv1d::CONV1D_BACKWARD,
    &copy::COPY,
    &coverage_loss::COVERAGE_LOSS,
    &coverage_loss::COVERAGE_LOSS_BACKWARD,
    &cross_entropy::CROSS_ENTROPY,
    &cross_entropy::CROSS_ENTROPY_BACKWARD,
    &cross_entropy::CROSS_ENTROPY_TOTAL,
    &dot_product_attention::DOT_PRODUCT_ATTENTION,
    &dot_product_attention::DOT_PRODUCT_ATTENTION_BACKWARD,
    &dot_product_attention::DOT_PRODUCT_ATTENTION_BIAS_BACKWARD,
    &dot_product_attention::DOT_PRODUCT_ATTENTION_BIAS_SUM_BACKWARD,
    &dot_product_attention::DOT_PRODUCT_ATTENTION_DELTA_BACKWARD,
    &dropout::DROPOUT,
    &embedding::EMBEDDING,
    &embedding::EMBEDDING_BACKWARD,
    &glu::GLU,
    &glu::GLU_BACKWARD,
    &gru::GRU,
    &gru::GRU_BACKWARD,
    &layer_norm::LAYER_NORM,
    &layer_norm::LAYER_NORM_BACKWARD,
    &layer_norm::LAYER_NORM_PARAMETERS_BACKWARD,
    &length_mask::LENGTH_MASK,
    &listed_rows::LISTED_ROWS,
    &listed_rows::LISTED_ROWS_PUT,
    &local_attention::LOCAL_ATTENTION,
    &local_attention::LOCAL_ATTENTION_BACKWARD,
    &lsh_attention::LSH_ATTENTION,
    &lsh_attention::LSH_ATTENTION_BACKWARD,
    &lsh_attention::LSH_ATTENTION_HASH,
    &lsh_attention::LSH_ATTENTION_SORT,
    &matmul::MATMUL,
    &matmul::MATMUL_COOPERATIVE,
    &matmul::MATMUL_ROW,
    &matmul::MATMUL_ROW_BY_COLUMNS,
    &permute::PERMUTE,
    &pointwise::POINTWISE,
    &pointwise::POINTWISE_BACKWARD,
    &positions::POSITIONS,
    &positions::POSITIONS_BACKWARD,
    &reduction::REDUCTION,
    &reduction::REDUCTION_BACKWARD,
    &reduction::REDUCTION_COLUMNS,
    &relative_attention::RELATIVE_ATTENTION,
    &relative_attention::RELATIVE_ATTENTION_BACKWARD,
    &relative_attention::RELATIVE_ATTENTION_KEYS_BACKWARD,
    &relative_attention::RELATIVE_ATTENTION_RELATIVE_BACKWARD,
    &relative_position_bias::RELATIVE_POSITION_BIAS,
    &relative_position_bias::RELATIVE_POSITION_BIAS_BACKWARD,
    &sliding_window_attention::SLIDING_WINDOW_ATTENTION,
    &sliding_window_attention::SLIDING_WINDOW_ATTENTION_BACKWARD,
    &softmax::SOFTMAX,
    &softmax::SOFTMAX_BACKWARD,
    &span_attention::SPAN_ATTENTION,
    &span_attention::SPAN_ATTENTION_BACKWARD,
    &span_attention::SPAN_ATTENTION_BIAS,
    &span_attention::SPAN_ATTENTION_DELTA_BACKWARD,
    &span_attention::SPAN_ATTENTION_DISTANCES_BACKWARD,
    &span_attention::SPAN_ATTENTION_KEYS_BACKWARD,
];

/// Every kernel that can be tuned.
pub const TUNABLE: &[TunableKernel] = &[
    TunableKernel::of::<additive_attention::Tile>(),
    TunableKernel::of::<dot_product_attention::Tile>(),
    TunableKernel::of::<gru::Tile>(),
    TunableKernel::of::<matmul::Tile>(),
];

/// The first entry of a table that no kernel would choose on this adapter, in words.
pub fn unusable(gpu: &Gpu, table: &TileTable) -> Option<String> {
    table.iter().find_map(|(kernel, class, tile)| {
        let Some(row) = TUNABLE.iter().find(|row| row.name == kernel) else {
            return Some(format!("no kernel `{kernel}` can be tuned"));
        };
        if !row.classes.contains(&class) {
            return Some(format!("{kernel} knows no shapes `{class}`"));
        }
        let known = (row.candidates)(gpu.tiles()).contains(tile);
        (!known).then(|| format!("{kernel} has no tile {tile} on this adapter"))
    })
}
