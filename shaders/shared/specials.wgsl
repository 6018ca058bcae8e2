// Which tokens a search may choose: neither padding nor what a text begins with, whose ids are among the parameters.
fn choosable(tokens: vec4u) -> vec4<bool> {
    return (tokens != vec4u(params.pad)) & (tokens != vec4u(params.bos));
}
