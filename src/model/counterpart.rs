//! What a model here is among Hugging Face's.

/// A model's settings as Hugging Face's `config.json` has them, and how its checkpoints differ from a list of its parameters.
#[derive(Clone, Debug)]
pub struct Counterpart {
    /// The text of that `config.json`.
    pub config: String,
    /// The beginning of parameters' names that files of the bare model, without an output layer, lack.
    pub prefix: &'static str,
    /// Whether it is that bare model.
    pub is_bare: bool,
    /// The ends of names of further tensors: buffers that are no parameters, and layers of other outputs.
    pub left_out: &'static [&'static str],
    /// Parameters that a checkpoint may lack: they are zero then.
    pub may_lack: &'static [&'static str],
}

impl Counterpart {
    /// A parameter's name in their files.
    pub fn name<'a>(&self, parameter: &'a str) -> &'a str {
        parameter.strip_prefix(self.prefix).filter(|_| self.is_bare).unwrap_or(parameter)
    }
}
