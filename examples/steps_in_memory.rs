//! Door six: training in memory, a step at a time, in a program that lets nothing wait; a page in a browser trains so.
//!
//!     cargo run --release --example steps_in_memory [STEPS]
//!
//! It prints the loss of each step, which is that of `softalign train numbers`.

use softalign::{
    Gpu, GpuOptions, Result,
    text::Task,
    train::{Data, Reading, Steps, TrainOptions},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(20), |steps| steps.parse())?;
    // An application has an executor of its own, and a browser has one in every page.
    Ok(pollster::block_on(train(steps))?)
}

async fn train(steps: u64) -> Result<()> {
    let gpu = Gpu::open_async(&GpuOptions::from_env()).await?;
    let mut training = Steps::new(&gpu, &TrainOptions::new(Data::Task(Task::Numbers)))?;
    while training.step() < steps {
        show(training.advance().await?);
    }
    show(training.settle().await?);
    Ok(())
}

fn show(readings: Vec<Reading>) {
    readings.iter().for_each(|reading| println!("{}", reading.loss));
}
