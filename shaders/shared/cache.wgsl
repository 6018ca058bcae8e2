// Where a search's rows stand in their caches: what each row starts with, the steps that the search has counted, and those since.
fn position_of(row: u32) -> u32 { return min(starts[row] + counter[0] + params.step, params.capacity - 1u); }
