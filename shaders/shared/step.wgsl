// Settings that change from step to step of a replayed Program.
struct Step {
    step: u32,              // from 1
    seed: u32,
    learning_rate: f32,
    loss_scale: f32,        // 1 / number of target tokens that are not padding, of all batches of the update
    batch: u32,             // of the update, from 0
    batches: u32,           // that make the update together; 0: this one alone
    alignment_scale: f32,   // 1 / number of target tokens that have links
}
