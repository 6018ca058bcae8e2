// loss = loss_scale times the sum of the rows' losses, in one workgroup.
#import linear
#import reduce
#import step

struct Params { rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> row_loss: array<vec4f>;     // [N]
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;     // [1]

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = vec4f();
    for (var i = lane; i < (params.rows + 3u) / 4u; i += LANES) { sum += inside4(i, params.rows, row_loss[i]); }
    let total = reduce_sum(sum_of(sum), lane);
    if (lane == 0u) { loss[0] = step.loss_scale * total; }
}
