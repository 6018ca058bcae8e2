//! The cases that PyTorch computed in f64: outputs, gradients of every input and parameter, a whole training step.

mod common;

use std::path::Path;

use softalign::validate::golden;

#[test]
fn agrees_with_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for gpu in [common::gpu(), common::portable()] {
        let rows = golden(gpu, &folder).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rows.iter().map(|row| &row.file).collect::<std::collections::BTreeSet<_>>().len(), 10);
        let failed: Vec<_> = rows.iter().filter(|row| !row.passed).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}
