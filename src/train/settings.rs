//! Options of a run by their names, as other languages and files give them.

use std::path::Path;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{Data, TrainOptions};
use crate::{Error, Result, names::setting};

impl TrainOptions {
    /// The options of a run on `data` in `folder` by the names and values that its `run.json` has; all others are what they are by
    /// default for such data, for the architecture, or for the model that `from` names.
    ///
    /// # Errors
    /// [`Error::Data`] for a name that is none, which lists them, and for a value that does not fit; [`Error::Io`] or
    /// [`Error::Data`] for a `from` that holds no model.
    pub fn of_settings(data: Data, folder: &Path, settings: &Map<String, Value>) -> Result<Self> {
        let text = |name: &str| settings.get(name).and_then(Value::as_str);
        let mut options = Self::new(data.clone());
        if let Some(from) = text("from") {
            options = options.beginning_with(Path::new(from), folder)?;
        }
        if let Some(architecture) = text("architecture") {
            options = options.with_architecture(architecture);
        }
        for (name, value) in settings {
            // One at a time, so that the error names the setting.
            let wrong = |error: serde_json::Error| Error::data(setting(name), error.to_string());
            let mut fields: Map<String, Value> =
                serde_json::to_value(&options).and_then(serde_json::from_value).map_err(wrong)?;
            fields.insert(name.clone(), value.clone());
            options = Self::deserialize(Value::Object(fields)).map_err(wrong)?;
        }
        // Pairs in memory are not among what is written.
        Ok(Self { data, ..options })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::text::{Task, TokenUnit};

    fn options(settings: Value) -> Result<TrainOptions> {
        let Value::Object(settings) = settings else { unreachable!() };
        TrainOptions::of_settings(Data::Task(Task::Numbers), Path::new("runs/none"), &settings)
    }

    #[test]
    fn settings_have_the_names_and_the_values_of_a_run() {
        let found = options(json!({
            "hidden": 32, "learning_rate": 1e-3, "target_unit": "bpe:400", "metric": "bleu", "rate": ["encoder.*=0.1"],
            "schedule": {"warmup": 7}, "model": {"attention": "64"}, "architecture": "luong",
        }));
        let found = found.unwrap();
        let expected = TrainOptions {
            hidden: 32,
            learning_rate: 1e-3,
            target_unit: TokenUnit::Bpe(400),
            metric: "bleu".parse().unwrap(),
            rate: vec!["encoder.*=0.1".parse().unwrap()],
            schedule: super::super::Schedule { warmup: 7, ..Default::default() },
            model: [("attention".to_owned(), "64".to_owned())].into(),
            ..TrainOptions::new(Data::Task(Task::Numbers)).with_architecture("luong")
        };
        assert_eq!(found, expected);
        assert_eq!(options(json!({})).unwrap(), TrainOptions::new(Data::Task(Task::Numbers)));
    }

    #[test]
    fn what_is_no_setting_is_named() {
        for (settings, wanted) in [
            (json!({"hiden": 32}), "`hiden`: unknown field `hiden`, expected one of"),
            (json!({"hidden": "large"}), "`hidden`: invalid type: string \"large\""),
            (json!({"target_unit": "syllables"}), "`target_unit`: "),
            (json!({"from": "no/such/model"}), "no/such/model"),
        ] {
            let found = options(settings).unwrap_err().to_string();
            assert!(found.starts_with(wanted), "{found}");
        }
    }
}
