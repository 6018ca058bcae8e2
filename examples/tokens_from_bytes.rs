//! Door five: a model from bytes in memory, from token ids to token ids, by the core alone.
//!
//!     cargo run --release --example tokens_from_bytes --no-default-features [CONFIG.json MODEL.safetensors TOKEN...]
//!
//! Without arguments it first makes a small model that has learnt nothing, to have one.

use softalign::{
    Gpu, GpuOptions, Result,
    generate::{Generator, SearchOptions},
    model::{Kind, ModelOptions, StoredTensor, TokenModel, first_values},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    // An application has these already: from `include_bytes!`, from its server, from a browser's cache.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (config, weights, mut source) = match arguments.as_slice() {
        [config, weights, tokens @ ..] => {
            let tokens = tokens.iter().map(|token| token.parse()).collect::<Result<Vec<u32>, _>>()?;
            (std::fs::read_to_string(config)?, std::fs::read(weights)?, tokens)
        }
        _ => {
            let (config, weights) = small_model(&gpu)?;
            (config, weights, vec![7, 4, 9])
        }
    };

    let model = TokenModel::load(&gpu, &config, &weights)?;
    let eos = model.network.limits().specials.eos;
    source.push(eos);
    let mut generator = Generator::new(&model);
    let options = SearchOptions { max_length: Some(20), ..SearchOptions::default() };
    // One by one as the device finds them; in a browser as a `Stream`, or whole by `generate_async`.
    let tokens = generator.tokens(&source, &options)?.collect::<Result<Vec<u32>>>()?;
    let whole = generator.generate(&[source.clone()], &options)?.remove(0).remove(0);
    assert_eq!(tokens, whole.tokens);
    println!("{source:?} -> {tokens:?}, log-probability {:.3}", whole.score);
    Ok(())
}

/// The text of a `config.json` and the bytes of a `model.safetensors`.
fn small_model(gpu: &Gpu) -> Result<(String, Vec<u8>), Box<dyn std::error::Error>> {
    let options = ModelOptions { embedding: 8, hidden: 16, max_length: 30, ..ModelOptions::default() };
    let network = Kind::DEFAULT.make(&options, [12, 12])?;
    let tensors = StoredTensor::of_parameters(gpu, &first_values(gpu, &network.parameters(), 1)?)?;
    let views = tensors.iter().map(|StoredTensor { name, shape, bytes }| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes)?;
        Ok((name, view))
    });
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok((network.config()?, safetensors::serialize(views, None)?))
}
