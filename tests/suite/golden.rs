//! The cases that PyTorch computed in f64: outputs, gradients of every input and parameter, a whole training step.

use std::{fs, path::Path};

use crate::common;
use rand::{RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use softalign::{
    Error,
    validate::{Golden, golden},
};

#[test]
fn agrees_with_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for gpu in [common::gpu(), common::portable()] {
        let Golden { rows, refused } = golden(gpu, &folder).unwrap_or_else(|error| panic!("{error}"));
        assert!(refused.is_empty(), "{refused:#?}");
        assert_eq!(rows.iter().map(|row| &row.file).collect::<std::collections::BTreeSet<_>>().len(), 55);
        let failed: Vec<_> = rows.iter().filter(|row| !row.passed).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

/// Cases of one's own may lack tensors, or have them in other shapes, types and values: an error, or rows that have not passed.
#[test]
fn a_case_that_is_made_wrongly_is_refused_or_fails() {
    let gpu = common::portable();
    let cases = std::env::var("SOFTALIGN_CASES").map_or(30, |cases| cases.parse().expect("no number of cases"));
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..cases {
        let path = files.choose(&mut random).unwrap();
        let bytes = fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let whole = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<_> = whole
            .iter()
            .map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
            .collect();
        tensors.sort();
        let at = random.random_range(0..tensors.len());
        let what = match random.random_range(0..4) {
            0 => format!("without {}", tensors.remove(at).0),
            change => {
                let (name, dtype, shape, data) = &mut tensors[at];
                match change {
                    1 => *dtype = if *dtype == Dtype::F32 { Dtype::I32 } else { Dtype::F32 },
                    2 => data.iter_mut().for_each(|byte| *byte = random.random()),
                    _ => {
                        match random.random_range(0..3) {
                            0 if !shape.is_empty() => drop(shape.pop()),
                            1 => shape.push(random.random_range(0..3)),
                            _ => shape.iter_mut().for_each(|extent| *extent = random.random_range(0..5)),
                        }
                        data.resize(4 * shape.iter().product::<usize>(), 1);
                    }
                }
                format!("{name} {dtype:?} {shape:?}")
            }
        };
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap_or_else(|error| panic!("{what}: {error}")))
        });
        let folder = tempfile::tempdir().unwrap();
        let metadata = header.metadata().clone();
        fs::write(folder.path().join(path.file_name().unwrap()), safetensors::serialize(views, metadata).unwrap())
            .unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Golden { rows, refused } =
            golden(gpu, folder.path()).unwrap_or_else(|error| panic!("{name}, {what}: {error}"));
        // A tensor that is only compared when it is there, or has another shape of as many values, may pass.
        assert!(rows.is_empty() != refused.is_empty(), "{name}, {what}");
        assert!(refused.iter().all(|error| error.to_string().contains(name)), "{what}: {refused:?}");
    }
}

/// A file that is no case is named, and hides none of the others.
#[test]
fn a_file_that_is_no_case_hides_no_other() {
    let gpu = common::portable();
    let (cases, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("another.safetensors"), fs::read(cases.join("glu.safetensors")).unwrap()).unwrap();
    fs::write(folder.path().join("broken.safetensors"), "{").unwrap();
    fs::copy(cases.join("glu.safetensors"), folder.path().join("glu.safetensors")).unwrap();
    let found = golden(gpu, folder.path()).unwrap();
    assert!(!found.passed() && found.rows.iter().all(|row| row.passed && row.file == "glu") && !found.rows.is_empty());
    let [another, broken] = &found.refused[..] else { panic!("{:?}", found.refused) };
    assert!(another.to_string().contains("another.safetensors: no operation is called like"), "{another}");
    assert!(broken.to_string().contains("broken.safetensors: not a whole safetensors file"), "{broken}");
    assert!(matches!(golden(gpu, &cases.join("none")), Err(Error::Io { .. })));
}
