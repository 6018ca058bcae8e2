//! WGSL as this crate writes it: `#import name`, `#ifdef NAME` / `#else` / `#endif`, and a prelude of generated constants.
//!
//! Three ways to specialise and no other. A directive stands alone on its line, so an editor's WGSL support is not confused,
//! and every line of the expanded text remembers the file and line it came from.

use std::fmt::Write as _;

use wgpu::naga::{self, valid::Capabilities};

use super::{Dtype, Tiles};
use crate::{Error, Result};

/// A WGSL file with entry point `main`. What it binds it says itself: buffers of group 0, numbered from 0 on, the parameters
/// first, in a `var<uniform>`.
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

/// A file that shaders `#import`.
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

    /// Whether it takes an adapter that has f16: anything of it is called `HALF`.
    pub fn needs_f16(&self) -> bool {
        self.defines.iter().any(|name| name.starts_with("HALF"))
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
    /// [`Error::Shader`] for an unknown import, an unbalanced or unknown directive.
    pub fn expand(&self, specialisation: &Specialisation) -> Result<Expanded> {
        let mut expanded = Expanded { label: self.label(specialisation), text: String::new(), origins: Vec::new() };
        if specialisation.needs_f16() {
            expanded.push("(prelude)", 0, "enable f16;");
        }
        for (name, value) in &specialisation.constants {
            expanded.push("(prelude)", 0, &format!("const {name}: u32 = {value}u;"));
        }
        let mut imported = Vec::new();
        expanded.append(self.name, self.text, specialisation, self.library, &mut imported)?;
        Ok(expanded)
    }
}

impl Expanded {
    /// Optional features that this crate's shaders use where an adapter has them.
    pub(super) const CAPABILITIES: Capabilities =
        Capabilities::SUBGROUP.union(Capabilities::SHADER_FLOAT16).union(Capabilities::SHADER_INT64);

    fn push(&mut self, file: &'static str, line: usize, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
        self.origins.push((file, line));
    }

    fn append(
        &mut self,
        file: &'static str,
        text: &'static str,
        specialisation: &Specialisation,
        library: &[Shared],
        imported: &mut Vec<&'static str>,
    ) -> Result<()> {
        let fail = |line: usize, message: String| Error::Shader { shader: format!("{file}.wgsl:{line}"), message };
        // One entry per open #ifdef: whether its lines are kept.
        let mut open: Vec<bool> = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            let mut words = line.split_whitespace();
            let directive = words.next().filter(|word| word.starts_with('#'));
            let kept = open.iter().all(|keep| *keep);
            match directive {
                None if kept => self.push(file, number, line),
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
                    let name = words.next().ok_or_else(|| fail(number, "#import wants a name".into()))?;
                    let shared = library
                        .iter()
                        .find(|shared| shared.name == name)
                        .ok_or_else(|| fail(number, format!("no shared file is called {name}")))?;
                    if !imported.contains(&shared.name) {
                        imported.push(shared.name);
                        self.append(shared.name, shared.text, specialisation, library, imported)?;
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

    const LIBRARY: &[Shared] = &[Shared { name: "math", text: "fn twice(x: f32) -> f32 { return 2.0 * x; }" }];

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
        for (text, message) in [
            ("#endif", "without #ifdef"),
            ("#ifdef A", "without #endif"),
            ("#import no", "called no"),
            ("#if A", "unknown"),
        ] {
            let error = expand(text, &Specialisation::new()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
