// The state of a search, all in one buffer, `search`, so that one copy brings it to the host. Parts start at multiples of 64.
const COUNTER = 0u;                     // steps made before this look
const ALL_FINISHED = 64u;
const ABSENT = -1e29;                   // scores of absent hypotheses lie below this
const NOTHING = -1e30;                  // the score of an absent hypothesis
const NONE = 0xffffffffu;

fn part(elements: u32) -> u32 { return (elements + 63u) / 64u * 64u; }
fn row_part(number: u32, row: u32) -> u32 { return 128u + number * part(params.rows) + row; }
fn score_at(row: u32) -> u32 { return row_part(0u, row); }
fn finished_at(row: u32) -> u32 { return row_part(1u, row); }
fn token_at(row: u32) -> u32 { return row_part(2u, row); }
fn parent_at(row: u32) -> u32 { return row_part(3u, row); }
fn penalty_at(row: u32) -> u32 { return row_part(4u, row); }
// The best texts of each sentence that have ended: the score of each, and the step, row and token that ended it.
fn ended_score_at(row: u32) -> u32 { return row_part(5u, row); }
fn ended_step_at(row: u32) -> u32 { return row_part(6u, row); }
fn ended_parent_at(row: u32) -> u32 { return row_part(7u, row); }
fn ended_token_at(row: u32) -> u32 { return row_part(8u, row); }
fn history_at(number: u32, step: u32, row: u32) -> u32 {
    return row_part(9u, 0u) + number * part(params.capacity * params.rows) + step * params.rows + row;
}
fn history_token_at(step: u32, row: u32) -> u32 { return history_at(0u, step, row); }
fn history_parent_at(step: u32, row: u32) -> u32 { return history_at(1u, step, row); }
// The source position that a row attended to most at a step; this part exists only if it was asked for.
fn attended_at(step: u32, row: u32) -> u32 { return history_at(2u, step, row); }

// Writes the outcome of a step for a row.
fn keep(step: u32, row: u32, score: f32, token: u32, parent: u32, finished: bool) {
    search[score_at(row)] = bitcast<u32>(score);
    search[finished_at(row)] = select(0u, 1u, finished);
    search[token_at(row)] = token;
    search[parent_at(row)] = parent;
    search[history_token_at(step, row)] = token;
    search[history_parent_at(step, row)] = parent;
}
