//! Door seven: one model that answers many threads. A worker owns it; the others send it requests through a queue that holds only so
//! many, so that whoever asks faster than the model answers has to wait.
//!
//!     cargo run --release --example model_for_many_threads [DIR]
//!
//! Without arguments it first trains a very small model for a few seconds, to have one.

use std::{
    path::PathBuf,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    thread,
    time::{Duration, Instant},
};

use softalign::{
    Gpu, GpuOptions, Result,
    generate::{Generator, SearchOptions},
    model::{Model, Prompt},
    text::Task,
    train::{Budget, Data, Destination, TrainOptions, train},
};

/// Requests that may wait in the queue.
const QUEUE: usize = 64;
/// Requests that are answered together at most, and how long the first of them waits for others.
const BATCH: usize = 32;
const WAIT: Duration = Duration::from_millis(2);
/// Sources whose lengths differ by less are answered together: the shorter ones are padded.
const LENGTHS: usize = 4;

/// Threads that ask, and how often each does.
const CLIENTS: usize = 8;
const QUESTIONS: usize = 50;

struct Request {
    text: String,
    answer: Sender<Result<String>>,
}

/// The way to the model. Each thread has a clone.
#[derive(Clone)]
struct Client(SyncSender<Request>);

impl Client {
    /// Asks and waits. `try_send` in place of `send` would turn requests away where the queue is full.
    fn ask(&self, text: &str) -> Result<String> {
        let (answer, answered) = mpsc::channel();
        self.0.send(Request { text: text.to_owned(), answer }).expect("the worker lives as long as its clients");
        answered.recv().expect("the worker answers every request")
    }
}

/// Answers until the last client is gone; returns the number of batches.
fn serve(model: &Model, mut generator: Generator, requests: Receiver<Request>) -> usize {
    let mut batches = 0;
    while let Ok(first) = requests.recv() {
        let mut gathered = vec![first];
        let latest = Instant::now() + WAIT;
        while gathered.len() < BATCH {
            match requests.recv_timeout(latest.saturating_duration_since(Instant::now())) {
                Ok(request) => gathered.push(request),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        // A text that the model cannot read is the affair of its client alone.
        let mut read = Vec::new();
        for request in gathered {
            match model.prompt(&request.text) {
                Ok(prompt) => read.push((prompt, request)),
                Err(error) => drop(request.answer.send(Err(error))),
            }
        }
        read.sort_by_key(|(prompt, _)| prompt.source.len());
        let length = |(prompt, _): &(Prompt, Request)| prompt.source.len().div_ceil(LENGTHS);
        for batch in read.chunk_by(|one, other| length(one) == length(other)) {
            batches += 1;
            answer(model, &mut generator, batch);
        }
    }
    batches
}

fn answer(model: &Model, generator: &mut Generator, batch: &[(Prompt, Request)]) {
    let (sources, prefixes): (Vec<_>, Vec<_>) =
        batch.iter().map(|(prompt, _)| (prompt.source.clone(), prompt.prefix.clone())).unzip();
    match generator.generate_behind(&sources, &prefixes, &SearchOptions::default()) {
        Ok(found) => {
            for ((_, request), texts) in batch.iter().zip(found) {
                let best = texts.into_iter().next().unwrap_or_default();
                // A client that has gone away needs no answer.
                drop(request.answer.send(model.text(&request.text, &best.tokens)));
            }
        }
        // What the device says concerns all of them.
        Err(error) => {
            let (message, name) = (error.to_string(), "the batch");
            batch
                .iter()
                .for_each(|(_, request)| drop(request.answer.send(Err(softalign::Error::data(name, &message)))));
        }
    }
}

fn main() -> Result<()> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let folder = std::env::args().nth(1).map_or_else(|| small_model(&gpu), |folder| Ok(folder.into()))?;
    let model = Model::load(&gpu, folder)?;
    // What batches will come in, few or many and short or long, is compiled before anybody waits for it.
    let mut generator = Generator::new(&model);
    for (rows, text) in [1, 8, BATCH].into_iter().flat_map(|rows| [(rows, "7"), (rows, "98765")]) {
        generator.generate(&vec![model.prompt(text)?.source; rows], &SearchOptions::default())?;
    }
    let question = |client: usize, number: usize| ((client * 7919 + number * 104_729) % 100_000).to_string();
    let expected = model.generate_text(&question(3, 5))?;

    let (sender, requests) = mpsc::sync_channel(QUEUE);
    let client = Client(sender);
    let began = Instant::now();
    let (mut latencies, batches) = thread::scope(|scope| {
        let worker = scope.spawn(|| serve(&model, generator, requests));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let client = client.clone();
                scope.spawn(move || {
                    let ask = |asked| {
                        let began = Instant::now();
                        let text = client.ask(&question(number, asked))?;
                        Ok((began.elapsed(), text))
                    };
                    (0..QUESTIONS).map(ask).collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        // With the last client the queue closes, and the worker ends.
        drop(client);
        let answers =
            clients.into_iter().map(|client| client.join().expect("no client panics")).collect::<Result<Vec<_>>>()?;
        assert_eq!(answers[3][5].1, expected, "in a batch as alone");
        let latencies: Vec<Duration> = answers.into_iter().flatten().map(|(latency, _)| latency).collect();
        Result::Ok((latencies, worker.join().expect("the worker does not panic")))
    })?;
    let seconds = began.elapsed().as_secs_f64();

    assert_eq!(latencies.len(), CLIENTS * QUESTIONS);
    latencies.sort();
    let percentile = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!("{CLIENTS} threads, {} requests in {batches} batches", latencies.len());
    println!("throughput: {:.0} requests/s", latencies.len() as f64 / seconds);
    println!("latency: {:.1} ms in the middle, {:.1} ms for 99 of 100", percentile(50), percentile(99));
    Ok(())
}

fn small_model(gpu: &Gpu) -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("softalign-served-{}", std::process::id()));
    let options = TrainOptions { embedding: 16, hidden: 32, batch: 32, ..TrainOptions::new(Data::Task(Task::Numbers)) };
    let budget = Budget { steps: Some(50), ..Budget::default() };
    train(gpu, &options, budget, Destination { folder: &folder, overwrite: true }, &|| false, &mut |_| {})?;
    Ok(folder)
}
