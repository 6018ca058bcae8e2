//! What an application that embeds the crate counts on: values that go from thread to thread, futures instead of waiting, and a
//! device that stays its own.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_core::Stream as _;

use softalign::{
    Error, Gpu, GpuOptions, Tensor,
    generate::{Generator, Sampling, SearchOptions, Tokens},
    gpu::{Dtype, Recording, adapter},
    graph::{Graph, Parameters, Program, ProgramOptions, Value},
    kernels::Step,
    model::{Model, Readout},
    text::read_tsv,
    train::{Data, Pairs, TrainOptions},
    wgpu,
};

use crate::common::{generation, training};

fn is_send_and_sync<T: Send + Sync>() {}
fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn everything_goes_from_thread_to_thread() {
    is_send_and_sync::<Gpu>();
    is_send_and_sync::<Tensor>();
    is_send_and_sync::<Recording>();
    is_send_and_sync::<Program>();
    is_send_and_sync::<Graph>();
    is_send_and_sync::<Parameters>();
    is_send_and_sync::<Model>();
    is_send_and_sync::<Generator>();
    is_send_and_sync::<Error>();
}

fn squash() -> (Graph, Value) {
    let mut graph = Graph::new();
    let x = graph.input("x", [3], Dtype::F32);
    let y = graph.tanh(x).unwrap();
    (graph, y)
}

/// The same numbers come without waiting, in futures that any executor may carry from thread to thread.
#[test]
fn what_waits_has_a_future_that_does_not() {
    let values = pollster::block_on(is_send(async {
        let gpu = Gpu::open_async(&GpuOptions::from_env()).await?;
        let (graph, y) = squash();
        let options = ProgramOptions { label: "squash".into(), outputs: &[y], ..ProgramOptions::default() };
        let mut program = Program::compile_async(&gpu, &graph, &options).await?;
        program.write("x", &[f32::NAN; 3])?;
        program.run(Step::default())?;
        program.write("x", &[-1.0_f32, 0.0, 0.5])?;
        program.run(Step::default())?;
        let values = program.read_async::<f32>(y).await?;
        assert_eq!(values, program.read::<f32>(y)?);
        gpu.wait_async().await?;
        let tensor = gpu.floats("half", [3], Dtype::F16, &values)?;
        assert_eq!(gpu.read_floats_async(&tensor).await?, gpu.read_floats(&tensor)?);
        Ok::<_, Error>(values)
    }))
    .unwrap();
    for (value, x) in values.iter().zip([-1.0_f32, 0.0, 0.5]) {
        assert!((value - x.tanh()).abs() < 1e-6, "{values:?}");
    }
}

/// Its owner's callback is told of the loss as if nobody else used the device, and so is whoever runs something on it.
#[test]
fn a_borrowed_device_keeps_its_callback_and_its_loss_is_an_error() {
    let adapter = adapter::choose(GpuOptions::from_env().adapter.as_deref()).unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let callback = told.clone();
    device.set_device_lost_callback(move |_, _| callback.store(true, Ordering::Relaxed));
    device.on_uncaptured_error(Arc::new(|error| panic!("{error}")));
    let gpu = Gpu::from_wgpu(device.clone(), queue, &GpuOptions::default());
    let (graph, y) = squash();
    let options = ProgramOptions { label: "squash".into(), outputs: &[y], ..ProgramOptions::default() };
    let mut program = Program::compile(&gpu, &graph, &options).unwrap();
    program.run(Step { step: 7, ..Step::default() }).unwrap();
    gpu.wait(None).unwrap();
    device.destroy();
    for error in [
        program.run(Step { step: 8, ..Step::default() }).unwrap_err(),
        program.read::<f32>(y).unwrap_err(),
        pollster::block_on(program.read_async::<f32>(y)).unwrap_err(),
        pollster::block_on(gpu.wait_async()).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::DeviceLost { program, step: 7, .. } if program == "squash"), "{error}");
    }
    let _ = device.poll(wgpu::PollType::wait_indefinitely());
    assert!(told.load(Ordering::Relaxed));
}

async fn streamed(mut tokens: Tokens<'_>) -> Vec<u32> {
    let mut text = Vec::new();
    while let Some(token) = poll_fn(|context| Pin::new(&mut tokens).poll_next(context)).await {
        text.push(token.unwrap());
    }
    text
}

/// Texts of several looks at the device, to their end and to their first token, waited for and streamed.
#[test]
fn tokens_come_one_by_one_and_can_be_stopped() {
    let model = generation::model(12, 12, 40, Readout::Tanh, 1, 7);
    let mut generator = Generator::new(&model);
    let greedy = SearchOptions { min_length: 20, ..SearchOptions::default() };
    let sampled = SearchOptions {
        sampling: Some(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 }),
        seed: 5,
        ..greedy.clone()
    };
    for options in [greedy, sampled] {
        let mut longest = 0;
        for source in generation::sources(4, 12, 9) {
            let whole = generator.generate(std::slice::from_ref(&source), &options).unwrap().remove(0).remove(0).tokens;
            longest = longest.max(whole.len());
            let tokens = generator.tokens(&source, &options).unwrap();
            assert_eq!(tokens.collect::<Result<Vec<_>, _>>().unwrap(), whole);
            assert_eq!(pollster::block_on(streamed(generator.tokens(&source, &options).unwrap())), whole);
            let first = generator.tokens(&source, &options).unwrap().next().transpose().unwrap();
            assert_eq!(first, whole.first().copied());
            // Dropped while its copy is under way, and asked in both ways.
            let mut tokens = generator.tokens(&source, &options).unwrap();
            let mut context = Context::from_waker(Waker::noop());
            if Pin::new(&mut tokens).poll_next(&mut context).is_pending() {
                assert_eq!(tokens.next().transpose().unwrap(), whole.first().copied());
            }
            drop(tokens);
            let mut tokens = generator.tokens(&source, &options).unwrap();
            let polled = Pin::new(&mut tokens).poll_next(&mut context);
            drop(tokens);
            if let Poll::Ready(first) = polled {
                assert_eq!(first.transpose().unwrap(), whole.first().copied());
            }
        }
        assert!(longest > 16, "no text took a second look: {longest}");
    }
    let refused = generator.tokens(&[2], &SearchOptions::beam(2)).unwrap_err();
    assert!(matches!(&refused, Error::Shape { operation: "tokens", .. }), "{refused}");
}

#[test]
fn a_text_is_written_in_one_line() {
    let model = generation::model(12, 12, 20, Readout::Tanh, 1, 7);
    let source = model.encode("abcabc").unwrap();
    let whole = Generator::new(&model).generate(&[source], &SearchOptions::default()).unwrap();
    let expected = model.target.decode(&whole[0][0].tokens);
    assert!(!expected.is_empty());
    assert_eq!(model.generate_text("abcabc").unwrap(), expected);
}

/// Interrupted and resumed, as the same pairs in files are; with other pairs it is another run.
#[test]
fn a_run_takes_its_pairs_from_memory() {
    let setting = training::Setting::new();
    let Data::Files { train, valid } = &setting.options.data else { unreachable!() };
    let [train, valid] = [train, valid].map(|file| read_tsv(file).unwrap());
    let in_memory = |train, valid| {
        let data = Data::Pairs(Pairs::new(train, valid));
        TrainOptions { data, ..setting.options.clone() }
    };
    let options = in_memory(train.clone(), valid.clone());
    let (files, memory) = (setting.out("files"), setting.out("memory"));
    training::run(&setting.options, 4, &files).unwrap();
    training::run(&options, 2, &memory).unwrap();
    training::run(&in_memory(train.clone(), valid.clone()), 4, &memory).unwrap();
    assert!(training::state(&memory) == training::state(&files));

    let refused = training::refusal(training::run(&in_memory(valid, train), 6, &memory));
    assert!(refused.contains("different run"), "{refused}");
    let kept: TrainOptions = serde_json::from_slice(&std::fs::read(memory.join("run.json")).unwrap()).unwrap();
    assert!(kept == options);
    let gone = training::refusal(kept.pairs());
    assert!(gone.contains("not in the run's folder"), "{gone}");
}
