//! Door four: a model folder, loaded and used in five lines.
//!
//!     cargo run --release --example model_folder [DIR TEXT]
//!
//! Without arguments it first trains a very small model for a few seconds, to have one.

use std::path::{Path, PathBuf};

use softalign::{
    Gpu, GpuOptions, Result,
    generate::{Generator, SearchOptions},
    model::Model,
    text::Task,
    train::{Budget, Data, Destination, TrainOptions, train},
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, text) = match arguments.as_slice() {
        [folder, text] => (PathBuf::from(folder), text.clone()),
        _ => (small_model()?, "1987".to_owned()),
    };

    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Model::load(&gpu, &folder)?;
    let source = model.encode(&text)?;
    let best = Generator::new(&model).generate(&[source], &SearchOptions::beam(4))?.remove(0).remove(0);
    println!("{text} -> {}", model.target.decode(&best.tokens));
    Ok(())
}

fn small_model() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("softalign-example-{}", std::process::id()));
    let gpu = Gpu::open(&GpuOptions::default())?;
    let options = TrainOptions { embedding: 16, hidden: 32, batch: 32, ..TrainOptions::new(Data::Task(Task::Numbers)) };
    let budget = Budget { steps: Some(50), ..Budget::default() };
    train(&gpu, &options, budget, Destination { folder: Path::new(&folder), overwrite: true }, &|| false, &mut |_| {})?;
    Ok(folder)
}
