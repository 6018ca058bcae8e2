// Settings that change from step to step of a replayed Program.
struct Step {
    step: u32,              // from 1
    seed: u32,
    learning_rate: f32,
    loss_scale: f32,        // 1 / number of target tokens that are not padding, of all batches of the update
    batch: u32,             // of the update, from 0
    batches: u32,           // that make the update together; 0: this one alone
    alignment_scale: f32,   // 1 / number of target tokens that have links
    rank: u32,              // that has these rows of the batch, from 0
    ranks: u32,             // that share its rows; 0: this one has them all
}

// The number of a row among all of the batch, whose rows are dealt out to the ranks to and fro.
fn row_of_all(step: Step, row: u32) -> u32 {
    let ranks = max(step.ranks, 1u);
    return row * ranks + select(step.rank, ranks - 1u - step.rank, row % 2u == 1u);
}
