// The tokens that a search may choose: all but padding and the token that begins a text, whose ids are parameters.
fn choosable(tokens: vec4u) -> vec4<bool> {
    return (tokens != vec4u(params.pad)) & (tokens != vec4u(params.bos));
}
