//! Metrics as TensorBoard reads them: files of records, each an `Event` of TensorFlow's `event.proto`.
//!
//! Only what scalars need of the protocol is declared here; the numbers of its fields are TensorFlow's.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message as _;

use super::host::host;
use crate::{Error, Result, files};

/// The prefix of the names of events files: TensorBoard looks for it.
const PREFIX: &str = "events.out.tfevents.";
/// The first event of a file says this.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`: TensorBoard then drops later steps that it has read before.
const START: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The events file of one session.
#[derive(Debug)]
pub(super) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// A new events file in the folder of a run that goes on after `step`. Files of earlier sessions lose what will be done
    /// again, and a torn end.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn open(folder: &Path, step: u64) -> Result<Self> {
        let earlier = files_in(folder)?;
        for path in &earlier {
            cut(path, step)?;
        }
        // TensorBoard reads files in the order of their names; sessions may begin in the same second.
        let name = format!("{PREFIX}{:010}.{}.{}", now() as u64, host(), earlier.len());
        let path = folder.join(name);
        let file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(Error::io(&path))?;
        let mut events = Self { path, file };
        events.write(0, What::FileVersion(VERSION.to_owned()))?;
        if step > 0 {
            events.write(step + 1, What::SessionLog(SessionLog { status: START }))?;
        }
        Ok(events)
    }

    /// Appends values of a step, each with its tag.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> Result<()> {
        let value =
            values.iter().map(|(tag, value)| Scalar { tag: tag.clone(), simple_value: Some(*value as f32) }).collect();
        self.write(step, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        // In one piece, so that records are whole for a reader during the run and after a kill.
        self.file.write_all(&record(&event.encode_to_vec())).map_err(Error::io(&self.path))
    }
}

/// Deletes the events files of a folder.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub(super) fn remove(folder: &Path) -> Result<()> {
    files_in(folder)?.into_iter().try_for_each(|path| std::fs::remove_file(&path).map_err(Error::io(path)))
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Cuts a file off before the first event after `step`, or where it is torn.
fn cut(path: &Path, step: u64) -> Result<()> {
    let bytes = files::read(path)?;
    let mut kept = 0;
    while let Some((event, length)) = bytes.get(kept..).and_then(first_event) {
        if event.step > step as i64 {
            break;
        }
        kept += length;
    }
    if kept < bytes.len() {
        let file = OpenOptions::new().write(true).open(path).map_err(Error::io(path))?;
        file.set_len(kept as u64).map_err(Error::io(path))?;
    }
    Ok(())
}

/// A record of TensorFlow's `TFRecord` format: length, its checksum, data, its checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(checksum(&length).to_le_bytes());
    record.extend(data);
    record.extend(checksum(data).to_le_bytes());
    record
}

/// The event that `bytes` start with, and the length of its record; nothing if the record is not whole.
fn first_event(bytes: &[u8]) -> Option<(Event, usize)> {
    let length = bytes.first_chunk::<8>()?;
    let end = usize::try_from(u64::from_le_bytes(*length)).ok()?.checked_add(12)?;
    let data = bytes.get(12..end)?;
    let sums = [bytes.get(8..12)?, bytes.get(end..end.checked_add(4)?)?];
    let whole = sums == [checksum(length).to_le_bytes(), checksum(data).to_le_bytes()];
    whole.then(|| Event::decode(data).ok()).flatten().map(|event| (event, end + 4))
}

/// CRC-32C, rotated and offset: checksums of data that holds checksums are weak.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn now() -> f64 {
    // A clock that is set before 1970 dates everything to then.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
