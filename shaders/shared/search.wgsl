// What a search keeps, all in one buffer, `search`, so that one copy brings it to the host. Each part starts at a multiple of 64.
const COUNTER = 0u;                     // steps made before this look
const ALL_FINISHED = 64u;
const ABSENT = -1e29;                   // the score of a hypothesis that is absent lies below
const PADDING = 0u;
const BEGIN = 1u;
const END = 2u;
const FIRST_CHOICE = 2u;                // <pad> and <bos> are never chosen
const NONE = 0xffffffffu;

fn part(elements: u32) -> u32 { return (elements + 63u) / 64u * 64u; }
fn score_at(row: u32) -> u32 { return 128u + row; }
fn finished_at(row: u32) -> u32 { return 128u + part(params.rows) + row; }
fn token_at(row: u32) -> u32 { return 128u + 2u * part(params.rows) + row; }
fn parent_at(row: u32) -> u32 { return 128u + 3u * part(params.rows) + row; }
fn history_token_at(step: u32, row: u32) -> u32 { return 128u + 4u * part(params.rows) + step * params.rows + row; }
fn history_parent_at(step: u32, row: u32) -> u32 {
    return history_token_at(step, row) + part(params.capacity * params.rows);
}

// What becomes of a row at a step.
fn keep(step: u32, row: u32, score: f32, token: u32, parent: u32) {
    search[score_at(row)] = bitcast<u32>(score);
    search[finished_at(row)] = select(0u, 1u, token == PADDING || token == END);
    search[token_at(row)] = token;
    search[parent_at(row)] = parent;
    search[history_token_at(step, row)] = token;
    search[history_parent_at(step, row)] = parent;
}
