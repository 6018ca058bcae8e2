//! A model of token ids, from a folder's files in memory.

use super::{Kind, Metadata, Network, loading::loaded, tensors::whole};
use crate::{Error, Gpu, Result, graph::Parameters};

/// The file of the parameters in a model folder.
pub const WEIGHTS: &str = "model.safetensors";
/// The file of the settings.
pub(crate) const CONFIG: &str = "config.json";

/// A network and its parameters on a device: a model without tokenizers, from token ids to token ids.
#[derive(Clone, Debug)]
pub struct TokenModel {
    /// The device that holds the parameters.
    pub gpu: Gpu,
    /// The architecture at its sizes.
    pub network: Network,
    /// The parameters, named as in PyTorch.
    pub parameters: Parameters,
}

impl TokenModel {
    /// Loads a model from what its folder holds: the text of `config.json` and the bytes of `model.safetensors`, wherever they are
    /// kept: in a program by `include_bytes!`, in a browser's cache.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file that is damaged or does not fit the other; [`Error::Limit`] for a parameter larger than a
    /// binding may be, [`Error::OutOfMemory`] when memory runs out.
    pub fn load(gpu: &Gpu, config: &str, weights: &[u8]) -> Result<Self> {
        let network = Kind::read(config, CONFIG)?;
        let (tensors, metadata) = whole(WEIGHTS, weights)?;
        check_saved(&metadata, CONFIG, CONFIG, config.as_bytes())?;
        let parameters = loaded(gpu, &network.parameters(), WEIGHTS, &tensors)?;
        Ok(Self { gpu: gpu.clone(), network, parameters })
    }
}

impl From<&TokenModel> for TokenModel {
    fn from(model: &TokenModel) -> Self {
        model.clone()
    }
}

/// Checks that the file `name` is the one that was saved with the parameters, by their metadata. Parameters from elsewhere,
/// PyTorch's for one, do not say. `path` names the file in errors.
pub(super) fn check_saved(metadata: &Metadata, name: &str, path: &str, bytes: &[u8]) -> Result<()> {
    if metadata.get(name).is_none_or(|stated| *stated == checksum_of(bytes)) {
        return Ok(());
    }
    let message = format!(
        "is not the file that was saved with {WEIGHTS}, by its checksum there; restore it from a copy, or, if the change was \
         meant, save {WEIGHTS} anew without metadata"
    );
    Err(Error::data(path, message))
}

/// CRC-32C of a file's bytes.
pub(super) fn checksum_of(bytes: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(bytes))
}
