//! Training steps with a tile and without: what is fast by itself, its operands in a cache, need not be so among other kernels.

use super::{Event, Progress, Row, fatal, measure};
use crate::{
    Gpu, Result,
    gpu::TileTable,
    model::{BatchShape, Kind, ModelOptions, Regularisation, first_values},
    text::{Batch, Specials},
    train::{Optimizer, Trainer},
};

/// The architectures whose steps are timed: between them they have every kernel that is tuned, though not in shapes of every class.
pub(super) const ARCHITECTURES: [&str; 2] = ["bahdanau", "transformer"];

/// Source and target tokens.
const VOCABULARIES: [usize; 2] = [32, 75];
const SHAPE: BatchShape = BatchShape { rows: 64, source: 12, target: 12 };
/// The seed of first values.
const SEED: u64 = 1;

/// A training step without and with a tile that makes its kernel faster by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The kernel.
    pub kernel: &'static str,
    /// The class of shapes that the tile is for.
    pub class: &'static str,
    /// The architecture in training.
    pub architecture: &'static str,
    /// The medians of a step's milliseconds without the tile and with it; `None` if the step failed with it.
    pub ms: Option<[f64; 2]>,
    /// Whether the tile stays: it does not if the step failed, or takes longer by more than the times spread.
    pub kept: bool,
}

impl Judgement {
    /// Takes a tile that does not stay out of a table.
    pub fn enter(&self, table: &mut TileTable) {
        if !self.kept {
            table.set(self.kernel, self.class, None);
        }
    }
}

/// A model that has made a step.
struct TrainingStep(Trainer);

impl TrainingStep {
    fn new(gpu: &Gpu, tiles: &TileTable, architecture: &str) -> Result<Self> {
        let gpu = gpu.with_tile_table(tiles.clone());
        let options = ModelOptions { max_length: SHAPE.source, ..ModelOptions::default() };
        let network = Kind::named(architecture)?.make(&options, VOCABULARIES)?;
        let parameters = first_values(&gpu, &network.parameters(), SEED)?;
        let mut trainer = Trainer::new(&gpu, network, &parameters, Optimizer::default(), Regularisation::default())?;
        // `submits` repeats this step with its settings: at a rate of 0 it can be made again and again.
        trainer.step(&batch(), 1, 1, 0.0)?;
        gpu.wait(None)?;
        Ok(Self(trainer))
    }

    /// Its kernels in order, each with what its tile makes of it.
    fn kernels(&mut self) -> Result<Vec<String>> {
        Ok(self.0.prepare(SHAPE)?.recording().labels().map(str::to_owned).collect())
    }

    fn submits(&mut self) -> measure::Submit<'_> {
        Box::new(|| self.0.prepare(SHAPE)?.recording().submit(0))
    }
}

/// Texts as long as the batch.
fn batch() -> Batch {
    let mut batch = Batch::filler(SHAPE, Specials::FIRST);
    let token =
        |row: usize, step: usize, words: usize| (Specials::COUNT + (row + step) % (words - Specials::COUNT)) as u32;
    let [source_words, target_words] = VOCABULARIES;
    for row in 0..SHAPE.rows {
        let source: Vec<_> = (1..SHAPE.source).map(|step| token(row, step, source_words)).collect();
        let target: Vec<_> = (1..SHAPE.target).map(|step| token(row, step, target_words)).collect();
        batch.put_source(row, &[&source[..], &[Specials::FIRST.eos]].concat());
        batch.put_target(row, &target);
    }
    batch
}

/// Times training steps with each tile that has won, beside those that were kept before it and the tiles of `table`, and reports them
/// where a step has that kernel in a shape of that class.
///
/// # Errors
/// [`crate::Error::DeviceLost`]; other failures are reported.
pub(super) fn judge(
    gpu: &Gpu,
    mut table: TileTable,
    winners: &[Row],
    stop: &dyn Fn() -> bool,
    progress: &mut Progress,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<()> {
    progress.total += 1;
    progress.begin("training steps without what has won".to_owned(), observe);
    let each = ARCHITECTURES.into_iter().map(|architecture| TrainingStep::new(gpu, &table, architecture));
    let mut current = match fatal(each.collect::<Result<Vec<_>>>())? {
        Ok(steps) => steps,
        Err(why) => {
            observe(Event::Refused(format!("training steps without what has won: {why}")));
            return Ok(());
        }
    };
    for row in winners {
        let Row { kernel, class, .. } = *row;
        let mut trial = table.clone();
        row.enter(&mut trial);
        let (mut steps, mut kept) = (Vec::new(), true);
        for (architecture, without) in ARCHITECTURES.into_iter().zip(&mut current) {
            if stop() {
                return Ok(());
            }
            progress.begin(format!("training steps of {architecture} with {kernel} {class}"), observe);
            let tried = TrainingStep::new(gpu, &trial, architecture).and_then(|mut with| {
                let same = with.kernels()? == without.kernels()?;
                let turns =
                    if same { None } else { measure::in_turns(gpu, [without.submits(), with.submits()], stop)? };
                Ok((with, turns))
            });
            let (ms, stays) = match fatal(tried)? {
                Ok((with, turns)) => {
                    steps.push(with);
                    let Some(turns) = turns else { continue };
                    (Some(turns.ms), !turns.first_leads)
                }
                Err(why) => {
                    observe(Event::Refused(format!("{kernel} {class}, in a training step of {architecture}: {why}")));
                    (None, false)
                }
            };
            kept &= stays;
            observe(Event::Judged(&Judgement { kernel, class, architecture, ms, kept: stays }));
        }
        if kept {
            (table, current) = (trial, steps);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Timed, *};
    use crate::{
        GpuOptions,
        kernels::{gru, matmul},
    };

    #[test]
    fn what_makes_a_step_slower_leaves_the_table() {
        let of =
            |kept| Judgement { kernel: "gru", class: "1 row", architecture: "bahdanau", ms: Some([2.0, 2.1]), kept };
        let mut table = TileTable::default();
        table.set("gru", "1 row", Some(json!(1)));
        of(true).enter(&mut table);
        assert!(!table.is_empty());
        of(false).enter(&mut table);
        assert!(table.is_empty());
    }

    #[test]
    fn steps_are_timed_where_they_have_the_shapes_of_a_tile() {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let row = |kernel, class, [default, best]: [serde_json::Value; 2]| {
            let timed = |tile| Timed { tile, ms: 1.0 };
            Row { kernel, class, shape: &[], default: timed(default), best: timed(best) }
        };
        let products = [500, 8].map(|rows| json!(matmul::Tile::choose(&gpu, rows)));
        let steps = [64, 8].map(|rows| json!(gru::Tile::choose(&gpu, [rows, 256], 2)));
        // Training steps have no step of the GRU with one row.
        let winners = [row("gru", gru::Tile::class(1), steps), row("matmul", matmul::Tile::class(500), products)];
        assert!(winners.iter().all(Row::is_gain));
        let (mut judged, mut progress) = (Vec::new(), Progress { done: 0, total: 4 });
        judge(&gpu, TileTable::default(), &winners, &|| false, &mut progress, &mut |event| match event {
            Event::Judged(judgement) => judged.push(judgement.clone()),
            Event::Begins { .. } => {}
            _ => panic!("no step failed"),
        })
        .unwrap();
        assert_eq!(progress.done, progress.total);
        let found: Vec<_> = judged.iter().map(|one| (one.kernel, one.class, one.architecture)).collect();
        assert_eq!(found, ARCHITECTURES.map(|architecture| ("matmul", matmul::Tile::class(500), architecture)));
        // What the verdict is, a busy machine decides too; a faster step is never the reason to drop a tile.
        let sound =
            |one: &Judgement| one.ms.is_some_and(|[without, with]| without > 0.0 && (one.kept || with > without));
        assert!(judged.iter().all(sound), "{judged:?}");
    }
}
