//! Rows taken out and put back by position, against their reference, and what no random case shows.

use crate::common::{
    self,
    differences::{Random, check_gradients, dot},
};
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    graph::{Graph, Program, ProgramOptions},
    kernels::{Step, listed_rows::ListedRows},
    reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("listed_rows");
}

#[test]
fn the_gradients_of_the_reference_agree_with_central_differences() {
    let mut random = Random::new(35);
    let rows = reference::listed_rows::ListedRows { batch: 2, steps: 5, listed: 3, size: 2 };
    let positions = [0, 2, 4, 3, 5, u32::MAX];
    let (x, y) = (random.tensor(&[2, 5, 2]), random.tensor(&[2, 3, 2]));
    let found = rows.backward(&y, &positions);
    let objective = |x: &[Vec<f64>]| dot(&rows.forward(&x[0], &positions), &y);
    check_gradients("listed_rows", std::slice::from_ref(&x), objective, &[("x", &found)]);
    let up = random.tensor(&[2, 5, 2]);
    let [d_base, d_rows] = rows.put_backward(&up, &positions);
    let objective = |x: &[Vec<f64>]| dot(&rows.put(&x[0], &x[1], &positions), &up);
    check_gradients("put", &[x, y], objective, &[("base", &d_base), ("rows", &d_rows)]);
}

/// What is put where it was taken changes nothing, and its gradient arrives by both ways together.
#[test]
fn rows_go_out_and_back() {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 5, 3], Dtype::F32);
    let positions = graph.input("positions", [2, 2], Dtype::U32);
    let upstream = graph.input("upstream", [2, 5, 3], Dtype::F32);
    let taken = graph.listed_rows(x, positions).unwrap();
    let y = graph.put_listed_rows(x, taken, positions).unwrap();
    let d_x = graph.gradients_from(&[(y, upstream)], &[x]).unwrap()[0];
    let outputs = [taken, y, d_x];
    for gpu in [common::gpu(), common::portable()] {
        let options = ProgramOptions { label: "test".into(), outputs: &outputs, ..ProgramOptions::default() };
        let mut program = Program::compile(gpu, &graph, &options).unwrap();
        let values: Vec<f32> = (1..=30).map(|at| at as f32).collect();
        let up: Vec<f32> = (1..=30).map(|at| 0.5 / at as f32).collect();
        program.write("x", &values).unwrap();
        program.write("upstream", &up).unwrap();
        program.write("positions", &[1_u32, 4, 0, 7]).unwrap();
        program.run(Step::default()).unwrap();
        let expected = [&values[3..6], &values[12..15], &values[15..18], &[0.0; 3]].concat();
        assert_eq!(program.read::<f32>(taken).unwrap(), expected);
        assert_eq!(program.read::<f32>(y).unwrap(), values);
        assert_eq!(program.read::<f32>(d_x).unwrap(), up);
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let rows = ListedRows { batch: 1, steps: 3, listed: 2, size: 2 };
    let [six, four] = [6, 4].map(|elements| common::poisoned(gpu, elements));
    let positions = common::upload_u32(gpu, [2], &[0, 1]);
    let one = common::upload_u32(gpu, [1], &[0]);
    let mut recorder = Recorder::new(gpu, "test");
    for result in [
        rows.record(&mut recorder, &four, &positions, &four),
        rows.record(&mut recorder, &six, &positions, &six),
        rows.record(&mut recorder, &six, &one, &four),
        rows.record(&mut recorder, &six, &four, &four),
        rows.record_put(&mut recorder, Some(&four), None, &positions, &six),
        ListedRows { listed: 0, ..rows }.record(&mut recorder, &six, &positions, &four),
    ] {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
}
