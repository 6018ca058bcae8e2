// What changes from step to step of a replayed Program.
struct Step {
    step: u32,              // from 1
    seed: u32,
    learning_rate: f32,
    loss_scale: f32,        // 1 / number of target tokens that are not padding
}
