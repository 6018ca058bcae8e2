//! Tiles that were measured to beat the defaults: a table of them, and the file that keeps one for each adapter.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Gpu;
use crate::{Error, Result, files};

/// Tiles by kernel and class of shapes, each in its kernel's own words. What a kernel does not list among its candidates for
/// the adapter at hand has no effect, so no table can make it run a form that was not validated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TileTable {
    kernels: BTreeMap<String, BTreeMap<String, Value>>,
}

impl TileTable {
    /// The tile of a kernel for a class of shapes.
    pub fn get(&self, kernel: &str, class: &str) -> Option<&Value> {
        self.kernels.get(kernel)?.get(class)
    }

    /// Sets the tile of a kernel for a class of shapes; `None`: its default.
    pub fn set(&mut self, kernel: &str, class: &str, tile: Option<Value>) {
        let classes = self.kernels.entry(kernel.to_owned()).or_default();
        match tile {
            Some(tile) => classes.insert(class.to_owned(), tile),
            None => classes.remove(class),
        };
        self.kernels.retain(|_, classes| !classes.is_empty());
    }

    /// Whether every tile is the default.
    pub fn is_empty(&self) -> bool {
        self.kernels.is_empty()
    }

    /// Kernel, class and tile, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.kernels.iter().flat_map(|(kernel, classes)| {
            classes.iter().map(move |(class, tile)| (kernel.as_str(), class.as_str(), tile))
        })
    }
}

/// The adapter, driver, build and forms of the kernels that a measurement holds for: others may be fast with other tiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    adapter: String,
    backend: String,
    driver: String,
    version: String,
    subgroup: Option<u32>,
    checked: bool,
}

impl Subject {
    fn of(gpu: &Gpu) -> Self {
        let info = gpu.info();
        Self {
            adapter: info.name.clone(),
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            subgroup: gpu.tiles().subgroup,
            checked: gpu.checked(),
        }
    }

    /// A file name that people can read. Two subjects may share one: the file itself says which it is about.
    fn file_name(&self) -> String {
        let Self { adapter, backend, driver, version, subgroup, checked } = self;
        let form = subgroup.map_or("no-subgroups".to_owned(), |size| format!("subgroups{size}"));
        let checks = if *checked { "checked" } else { "" };
        let plain = |word: &str| {
            let letters = word.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' });
            let words: Vec<_> = letters.collect::<String>().split_whitespace().map(str::to_owned).collect();
            words.join("-").chars().take(60).collect::<String>()
        };
        let words = [adapter, backend, driver, form.as_str(), checks].map(plain);
        format!(
            "tiles-{}-{version}.json",
            words.iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join("-")
        )
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    measured_on: Subject,
    tiles: TileTable,
}

/// The file within a folder that keeps the tiles for this adapter, driver and build.
pub fn path(gpu: &Gpu, folder: &Path) -> PathBuf {
    folder.join(Subject::of(gpu).file_name())
}

/// This user's folder for such files, where the system has one. Feature `validate`.
#[cfg(feature = "validate")]
pub fn folder() -> Option<PathBuf> {
    dirs::cache_dir().map(|folder| folder.join("softalign"))
}

/// Reads a table that was measured on this adapter, driver and build.
///
/// # Errors
/// [`Error::Io`], or [`Error::Data`] for a file that is damaged or about something else.
pub fn read(gpu: &Gpu, path: &Path) -> Result<TileTable> {
    let wrong = |why: String| Error::data(path.display().to_string(), why);
    let bytes = files::read(path)?;
    let Cache { measured_on, tiles } =
        serde_json::from_slice(&bytes).map_err(|error| wrong(format!("not a whole table of tiles ({error})")))?;
    let here = Subject::of(gpu);
    if measured_on != here {
        let Subject { adapter, driver, version, .. } = measured_on;
        return Err(wrong(format!("measured on another adapter, driver or build ({adapter}, {driver}, {version})")));
    }
    Ok(tiles)
}

/// Writes a table, whole or not at all; its folder is made if it does not exist. Feature `validate`.
///
/// # Errors
/// [`Error::Io`].
#[cfg(feature = "validate")]
pub fn write(gpu: &Gpu, path: &Path, tiles: &TileTable) -> Result<()> {
    let cache = Cache { measured_on: Subject::of(gpu), tiles: tiles.clone() };
    let text = serde_json::to_vec_pretty(&cache)
        .map_err(|error| Error::data(path.display().to_string(), error.to_string()))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    files::write_atomically(path, &text)
}
