//! WGSL as this crate writes it: a prelude of generated constants, `#ifdef NAME` / `#else` / `#endif`, and `#import file`.
//!
//! Three ways to specialise and no other: numbers by the prelude, structure by `#ifdef`, sharing by `#import`. WGSL has no pointer to
//! storage as an argument, so what loads from one binding cannot load from another; hence `#import file(binding)`, in whose text
//! `BINDING` stands for the name: `#import load(query)` brings `load_query`. A directive stands alone on its line, so an editor's
//! WGSL support is not confused, and every line of the expanded text remembers the file and line it came from.

use std::fmt::Write as _;

use wgpu::naga::{self, valid::Capabilities};

use super::{Dtype, Tiles, texture::TEXELS};
use crate::{Error, Result};

/// A WGSL file with entry point `main`. What it binds it says itself: buffers of group 0, numbered from 0 on, the parameters
/// first, in a `var<uniform>`. In place of a buffer this crate's own may read a `texture_2d<f32>`, into which a tensor of f32 is copied
/// right before: four elements a texel, 1,024 texels a row.
#[derive(Debug)]
pub struct Shader {
    /// The file's path under `shaders/`: `<kernel>`, `<kernel>_backward`, or `<kernel>/<pass>` for a helper of these.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
    /// The files that it may `#import`.
    pub library: &'static [Shared],
    /// Every specialisation that the kernel's launches ask for under a tile configuration.
    pub specialisations: fn(&Tiles) -> Vec<Specialisation>,
}

/// The extension of cooperative matrices, and why none but kernels of this crate may have it.
const MATRICES: &str = "wgpu_cooperative_matrix";
pub(super) const UNGUARDED: &str = "wgpu's checks see where a matrix begins that a shader loads, and not where it ends";

/// What stands for the binding's name in the text of a file that is imported as `file(binding)`.
const PLACEHOLDER: &str = "BINDING";

/// A file that shaders `#import`: once, or if it has `BINDING` in it, once for each binding.
#[derive(Debug)]
pub struct Shared {
    /// The file's stem.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

/// A specialisation of a shader: the names that are defined and the constants of the prelude.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Specialisation {
    defines: Vec<&'static str>,
    constants: Vec<(&'static str, u32)>,
}

impl Specialisation {
    /// Nothing defined.
    pub fn new() -> Self {
        Self::default()
    }

    /// Defines `name` for `#ifdef`.
    pub fn define(mut self, name: &'static str) -> Self {
        self.defines.push(name);
        self
    }

    /// Defines `name` for `#ifdef` if `condition` holds.
    pub fn define_if(self, condition: bool, name: &'static str) -> Self {
        if condition { self.define(name) } else { self }
    }

    /// Defines `HALF` where activations are f16.
    pub fn element(self, dtype: Dtype) -> Self {
        self.define_if(dtype == Dtype::F16, "HALF")
    }

    /// Copies in textures for some bindings, each by the flag that says so, if there are any.
    pub(crate) fn textures(self, flags: &[(bool, &'static str)]) -> Self {
        let some = flags.iter().any(|(copied, _)| *copied);
        let form = flags.iter().fold(self, |form, (copied, flag)| form.define_if(*copied, flag));
        if some { form.constant("TEXELS", TEXELS) } else { form }
    }

    /// Whether it takes an adapter that has f16: anything of it is called `HALF`.
    pub fn needs_f16(&self) -> bool {
        self.defines.iter().any(|name| name.starts_with("HALF"))
    }

    /// Whether it takes an adapter that has cooperative matrices: `COOPERATIVE` is defined. None but kernels of this crate may.
    pub fn needs_cooperative(&self) -> bool {
        self.defines.contains(&"COOPERATIVE")
    }

    /// Adds `const name: u32 = value;` to the prelude.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.push((name, value));
        self
    }

    /// A short name for labels and file names, such as `VECTOR-ROWS32`.
    pub fn label(&self) -> String {
        let mut label = self.defines.join("-");
        for (name, value) in &self.constants {
            let _ = write!(label, "{}{name}{value}", if label.is_empty() { "" } else { "-" });
        }
        label
    }
}

/// A shader after preprocessing: plain WGSL, and where each of its lines came from.
#[derive(Debug)]
pub struct Expanded {
    /// The name and specialisation, for messages.
    pub label: String,
    /// Plain WGSL.
    pub text: String,
    origins: Vec<(&'static str, usize)>,
    cooperative: bool,
}

impl Shader {
    /// A shader to be recorded with [`super::Recorder::dispatch`].
    pub const fn new(name: &'static str, text: &'static str, library: &'static [Shared]) -> Self {
        Self { name, text, library, specialisations: |_| Vec::new() }
    }

    /// The kernel that it belongs to: the name of its file in `src/kernels`, and of its reference in [`crate::reference`].
    pub fn kernel(&self) -> &'static str {
        match self.name.split_once('/') {
            Some((kernel, _)) => kernel,
            None => self.name.strip_suffix("_backward").unwrap_or(self.name),
        }
    }

    /// `name/specialisation`.
    pub fn label(&self, specialisation: &Specialisation) -> String {
        let suffix = specialisation.label();
        if suffix.is_empty() { self.name.to_owned() } else { format!("{}/{suffix}", self.name) }
    }

    /// Expands the file for one specialisation.
    ///
    /// # Errors
    /// [`Error::Shader`] for an unknown import, one with a binding too many or too few, an unbalanced or unknown directive.
    pub fn expand(&self, specialisation: &Specialisation) -> Result<Expanded> {
        let cooperative = specialisation.needs_cooperative();
        let mut expanded =
            Expanded { label: self.label(specialisation), text: String::new(), origins: Vec::new(), cooperative };
        if specialisation.needs_f16() {
            expanded.push("(prelude)", 0, "enable f16;");
        }
        if cooperative {
            expanded.push("(prelude)", 0, &format!("enable {MATRICES};"));
        }
        for (name, value) in &specialisation.constants {
            expanded.push("(prelude)", 0, &format!("const {name}: u32 = {value}u;"));
        }
        let file = Shared { name: self.name, text: self.text };
        expanded.append(&file, PLACEHOLDER, specialisation, self.library, &mut Vec::new())?;
        Ok(expanded)
    }
}

impl Expanded {
    /// Optional features that this crate's shaders use where an adapter has them.
    pub(super) const CAPABILITIES: Capabilities = Capabilities::SUBGROUP
        .union(Capabilities::SHADER_FLOAT16)
        .union(Capabilities::SHADER_FLOAT16_IN_FLOAT32)
        .union(Capabilities::SHADER_INT64)
        .union(Capabilities::COOPERATIVE_MATRIX);

    fn push(&mut self, file: &'static str, line: usize, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
        self.origins.push((file, line));
    }

    fn append(
        &mut self,
        file: &Shared,
        binding: &str,
        specialisation: &Specialisation,
        library: &[Shared],
        imported: &mut Vec<String>,
    ) -> Result<()> {
        let fail =
            |line: usize, message: String| Error::Shader { shader: format!("{}.wgsl:{line}", file.name), message };
        // One entry per open #ifdef: whether its lines are kept.
        let mut open: Vec<bool> = Vec::new();
        let text = file.text.replace(PLACEHOLDER, binding);
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            let mut words = line.split_whitespace();
            let directive = words.next().filter(|word| word.starts_with('#'));
            let kept = open.iter().all(|keep| *keep);
            match directive {
                None if kept => self.push(file.name, number, line),
                None => {}
                Some("#ifdef") => {
                    let name = words.next().ok_or_else(|| fail(number, "#ifdef wants a name".into()))?;
                    open.push(specialisation.defines.contains(&name));
                }
                Some("#else") => match open.last_mut() {
                    Some(keep) => *keep = !*keep,
                    None => return Err(fail(number, "#else without #ifdef".into())),
                },
                Some("#endif") => {
                    open.pop().ok_or_else(|| fail(number, "#endif without #ifdef".into()))?;
                }
                Some("#import") if kept => {
                    let what = words.next().ok_or_else(|| fail(number, "#import wants a name".into()))?;
                    let (name, of) = parts(what);
                    let shared = library
                        .iter()
                        .find(|shared| shared.name == name)
                        .ok_or_else(|| fail(number, format!("no shared file is called {name}")))?;
                    if of.is_some() != shared.text.contains(PLACEHOLDER) {
                        let binding = if of.is_some() { "" } else { "(binding)" };
                        return Err(fail(number, format!("{name} is imported by #import {name}{binding}")));
                    }
                    if !imported.iter().any(|known| known == what) {
                        imported.push(what.to_owned());
                        self.append(shared, of.unwrap_or(PLACEHOLDER), specialisation, library, imported)?;
                    }
                }
                Some("#import") => {}
                Some(other) => return Err(fail(number, format!("unknown directive {other}"))),
            }
        }
        if open.is_empty() { Ok(()) } else { Err(fail(text.lines().count(), "#ifdef without #endif".into())) }
    }

    /// The original place of line `line` (from 1) of the expanded text, as `file.wgsl:line`.
    pub fn origin(&self, line: u32) -> String {
        match self.origins.get((line as usize).wrapping_sub(1)) {
            Some((file, number)) => format!("{file}.wgsl:{number}"),
            None => "(end of file)".into(),
        }
    }

    /// Parses and validates the text with naga, with the capabilities that this crate's shaders may use.
    ///
    /// # Errors
    /// [`Error::Shader`] pointing into the original file.
    pub fn parse(&self) -> Result<(naga::Module, naga::valid::ModuleInfo)> {
        let fail = |line: Option<u32>, message: String| Error::Shader {
            shader: self.label.clone(),
            message: match line {
                Some(line) => format!(
                    "{}: {message}\n    {}",
                    self.origin(line),
                    self.text.lines().nth((line as usize).saturating_sub(1)).unwrap_or_default().trim()
                ),
                None => message,
            },
        };
        // By its name: naga's validator overlooks some modules with such matrices.
        if !self.cooperative && self.text.contains(MATRICES) {
            return Err(fail(None, format!("{MATRICES} is for this crate's own kernels: {UNGUARDED}")));
        }
        let module = naga::front::wgsl::parse_str(&self.text)
            .map_err(|error| fail(error.location(&self.text).map(|at| at.line_number), error.to_string()))?;
        let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), Self::CAPABILITIES)
            .validate(&module)
            .map_err(|error| {
                // The first span is the whole function; the last one is what is wrong in it.
                let line = error.spans().last().map(|(span, _)| span.location(&self.text).line_number);
                fail(line, error.emit_to_string(&self.text))
            })?;
        Ok((module, info))
    }
}

/// The parts of `file` or `file(binding)`.
fn parts(import: &str) -> (&str, Option<&str>) {
    match import.strip_suffix(')').and_then(|import| import.split_once('(')) {
        Some((file, binding)) => (file, Some(binding)),
        None => (import, None),
    }
}

/// Bytes of workgroup memory that a module's entry point declares, each variable rounded up to 16 as WebGPU counts them.
pub fn workgroup_memory(module: &naga::Module) -> u64 {
    let mut layouter = naga::proc::Layouter::default();
    if layouter.update(module.to_ctx()).is_err() {
        return u64::MAX;
    }
    module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
        .map(|(_, variable)| u64::from(layouter[variable.ty].size).next_multiple_of(16))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &[Shared] = &[
        Shared { name: "math", text: "fn twice(x: f32) -> f32 { return 2.0 * x; }" },
        Shared { name: "load", text: "\nfn load_BINDING(i: u32) -> f32 { return BINDING[i]; }" },
        Shared {
            name: "load_twice",
            text: "#import math\n#import load(BINDING)\nfn load_twice_BINDING(i: u32) -> f32 { return twice(load_BINDING(i)); }",
        },
    ];

    fn expand(text: &'static str, specialisation: &Specialisation) -> Result<Expanded> {
        Shader::new("test", text, LIBRARY).expand(specialisation)
    }

    #[test]
    fn keeps_the_branch_that_is_defined() {
        let text = "#ifdef A\na\n#ifdef B\nb\n#endif\n#else\nc\n#endif";
        assert_eq!(expand(text, &Specialisation::new().define("A")).unwrap().text, "a\n");
        assert_eq!(expand(text, &Specialisation::new().define("A").define("B")).unwrap().text, "a\nb\n");
        assert_eq!(expand(text, &Specialisation::new().define("B")).unwrap().text, "c\n");
    }

    #[test]
    fn imports_once_and_prepends_constants() {
        let expanded = expand("#import math\n#import math\nx", &Specialisation::new().constant("N", 3)).unwrap();
        assert_eq!(expanded.text.matches("twice").count(), 1);
        assert!(expanded.text.starts_with("const N: u32 = 3u;\n"));
    }

    #[test]
    fn imports_once_for_each_binding() {
        let binding = |number: u32, name: &str| {
            format!("@group(0) @binding({number}) var<storage, read> {name}: array<f32>;\n#import load_twice({name})\n")
        };
        let text = binding(0, "key") + &binding(1, "value") + "#import load(key)";
        let expanded = expand(text.leak(), &Specialisation::new()).unwrap();
        for function in ["twice", "load_key", "load_value", "load_twice_key", "load_twice_value"] {
            assert_eq!(expanded.text.matches(&format!("fn {function}(")).count(), 1, "{}", expanded.text);
        }
        expanded.parse().unwrap();
    }

    #[test]
    fn enables_f16_before_anything_else_where_it_is_used() {
        let text = "#ifdef HALF_A\nalias element = f16;\n#endif";
        let half = Specialisation::new().constant("N", 3).define("HALF_A");
        let expanded = expand(text, &half).unwrap();
        assert!(expanded.text.starts_with("enable f16;\n"), "{}", expanded.text);
        expanded.parse().unwrap();
        assert!(!expand(text, &Specialisation::new()).unwrap().text.contains("f16"));
    }

    #[test]
    fn reports_errors_in_the_original_file() {
        let text = "#import math\nfn main() -> u32 {\n  return twice(1.0);\n}";
        let error = expand(text, &Specialisation::new()).unwrap().parse().unwrap_err().to_string();
        assert!(error.contains("test.wgsl:3"), "{error}");
        let error = expand("#import load(key)", &Specialisation::new()).unwrap().parse().unwrap_err().to_string();
        assert!(error.contains("load.wgsl:2") && error.contains("key[i]"), "{error}");
        for (text, message) in [
            ("#endif", "without #ifdef"),
            ("#ifdef A", "without #endif"),
            ("#import no", "called no"),
            ("#import load", "#import load(binding)"),
            ("#import math(key)", "#import math"),
            ("#if A", "unknown"),
        ] {
            let error = expand(text, &Specialisation::new()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
