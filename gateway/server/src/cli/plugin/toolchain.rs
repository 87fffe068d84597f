//! Which program builds a plugin, where it is, and what to install where it is not.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hookweir_host::Language;

use super::guard;
use crate::config::PluginFolder;

/// The target that Rust plugins are built for: it has no WASI to import.
const RUST_TARGET: &str = "wasm32-unknown-unknown";
const NO_CARGO: Missing = Missing { what: "cargo", install: "curl https://sh.rustup.rs -sSf | sh" };
const NO_RUST_TARGET: Missing = Missing {
    what: "Rust's standard library for WebAssembly",
    install: "rustup target add wasm32-unknown-unknown",
};
const NO_QJS: Missing =
    Missing { what: "componentize-qjs", install: "npm install --global componentize-qjs@0.4.5" };
const NO_PY: Missing = Missing { what: "componentize-py", install: "pip install componentize-py==0.25.1" };
const NO_C: Missing = Missing {
    what: "a C compiler for WebAssembly (clang with wasm-ld, or zig)",
    install: "pip install ziglang==0.17.1",
};

/// What a build needs and this machine does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    what: &'static str,
    install: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not installed; this installs it:\n    {}", self.what, self.install)
    }
}

impl std::error::Error for Missing {}

/// How to build a plugin. Its folder is the working directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub makes: Makes,
}

/// Where the result is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Makes {
    /// In the file that the recipe was told.
    Output,
    /// In a file that cargo names in its messages.
    CargoArtifact,
}

/// Where programs are looked for.
pub(super) struct Machine {
    path: Vec<PathBuf>,
    virtual_env: Option<PathBuf>,
}

impl Machine {
    pub(super) fn this() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        Self {
            path: env::split_paths(&path).collect(),
            virtual_env: env::var_os("VIRTUAL_ENV").map(PathBuf::from),
        }
    }

    /// The recipe for a plugin, which is to write to `output`.
    pub(super) fn recipe(&self, plugin: &PluginFolder, output: &Path) -> Result<Recipe, Missing> {
        match plugin.language {
            Language::Rust => self.rust(),
            Language::JavaScript => self.javascript(plugin, output),
            Language::Python => self.python(plugin, output),
            Language::C => self.c(plugin, output),
        }
    }

    fn rust(&self) -> Result<Recipe, Missing> {
        let program = self.find("cargo", &[]).ok_or(NO_CARGO)?;
        if !self.has_rust_target() {
            return Err(NO_RUST_TARGET);
        }
        let args =
            ["build", "--release", "--target", RUST_TARGET, "--message-format", "json-render-diagnostics"];
        Ok(Recipe { program, args: args.map(OsString::from).to_vec(), makes: Makes::CargoArtifact })
    }

    /// Whether there is a standard library for the target, or cargo was told to build one.
    fn has_rust_target(&self) -> bool {
        if env::var_os("CARGO_UNSTABLE_BUILD_STD").is_some() {
            return true;
        }
        let rustc = env::var_os("RUSTC").map(PathBuf::from).or_else(|| self.find("rustc", &[]));
        let asked = rustc.and_then(|rustc| {
            Command::new(rustc).args(["--print", "target-libdir", "--target", RUST_TARGET]).output().ok()
        });
        // The compiler names the folder whether or not it is there.
        asked.is_some_and(|answer| {
            Path::new(String::from_utf8_lossy(&answer.stdout).trim())
                .read_dir()
                .is_ok_and(|mut files| files.next().is_some())
        })
    }

    fn javascript(&self, plugin: &PluginFolder, output: &Path) -> Result<Recipe, Missing> {
        let places: Vec<PathBuf> =
            plugin.folder.ancestors().map(|folder| folder.join("node_modules/.bin")).collect();
        let program = self.find("componentize-qjs", &places).ok_or(NO_QJS)?;
        let args = [
            "--wit",
            "wit",
            "--world",
            plugin.world,
            "--js",
            guard::JAVASCRIPT_ENTRY,
            "--stub-wasi",
            "--sync",
            "--output",
        ];
        Ok(Recipe::new(program, &args, output))
    }

    fn python(&self, plugin: &PluginFolder, output: &Path) -> Result<Recipe, Missing> {
        let program = self.find("componentize-py", &self.python_places(plugin)).ok_or(NO_PY)?;
        let args = [
            "-d",
            "wit",
            "-w",
            plugin.world,
            "componentize",
            "--stub-wasi",
            "-p",
            guard::FOLDER,
            "-p",
            ".",
            guard::PYTHON_ENTRY,
            "-o",
        ];
        Ok(Recipe::new(program, &args, output))
    }

    fn c(&self, plugin: &PluginFolder, output: &Path) -> Result<Recipe, Missing> {
        let (program, mut args) = self.c_compiler(plugin).ok_or(NO_C)?;
        args.extend(["-std=c17", "-Oz", "-Wall", "-Wextra", "-fno-builtin", "-nostdlib"]);
        args.extend(["-Wl,--no-entry", "-Wl,--strip-all", "plugin.c", "-o"]);
        Ok(Recipe::new(program, &args, output))
    }

    /// A compiler, with the arguments that make it one for bare WebAssembly.
    fn c_compiler(&self, plugin: &PluginFolder) -> Option<(PathBuf, Vec<&'static str>)> {
        let clang = self.find("clang", &[]).filter(|clang| {
            self.find("wasm-ld", &[]).is_some() && says(clang, &["--print-targets"], "wasm32")
        });
        if let Some(clang) = clang {
            return Some((clang, vec!["--target=wasm32-unknown-unknown"]));
        }
        const ZIG: [&str; 3] = ["cc", "-target", "wasm32-freestanding"];
        if let Some(zig) = self.find("zig", &[]) {
            return Some((zig, ZIG.to_vec()));
        }
        let pythons =
            ["python3", "python"].into_iter().filter_map(|name| self.find(name, &self.python_places(plugin)));
        let has_zig = |python: &PathBuf| says(python, &["-m", "ziglang", "version"], ".");
        pythons
            .into_iter()
            .find(has_zig)
            .map(|python| (python, [&["-m", "ziglang"], ZIG.as_slice()].concat()))
    }

    /// Where a plugin's own Python is looked for first.
    fn python_places(&self, plugin: &PluginFolder) -> Vec<PathBuf> {
        let own = plugin.folder.join(".venv/bin");
        std::iter::once(own).chain(self.virtual_env.iter().map(|env| env.join("bin"))).collect()
    }

    fn find(&self, name: &str, first: &[PathBuf]) -> Option<PathBuf> {
        first.iter().chain(&self.path).map(|folder| folder.join(name)).find(|path| is_program(path))
    }
}

impl Recipe {
    fn new(program: PathBuf, args: &[&str], output: &Path) -> Self {
        let args = args.iter().map(OsString::from).chain([output.as_os_str().to_owned()]).collect();
        Self { program, args, makes: Makes::Output }
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whether a program runs with these arguments and prints this.
fn says(program: &Path, args: &[&str], wanted: &str) -> bool {
    Command::new(program).args(args).output().is_ok_and(|answer| {
        answer.status.success() && String::from_utf8_lossy(&answer.stdout).contains(wanted)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hookweir_host::Limits;
    use hookweir_model::PluginId;

    use super::*;

    fn plugin(folder: &Path, language: Language) -> PluginFolder {
        PluginFolder {
            folder: folder.to_owned(),
            name: PluginId::new("p").unwrap(),
            language,
            world: "plugin",
            component: folder.join("p.wasm"),
            config: "{}".into(),
            limits: Limits::default(),
            reuse: false,
        }
    }

    /// A folder with programs that answer as given.
    fn programs(folder: &Path, named: &[(&str, &str)]) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        for (name, script) in named {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder.to_owned()
    }

    #[test]
    fn what_is_missing_is_named_with_its_command() {
        let machine = Machine { path: Vec::new(), virtual_env: None };
        for (language, command) in [
            (Language::Rust, "rustup"),
            (Language::JavaScript, "npm install --global componentize-qjs"),
            (Language::Python, "pip install componentize-py"),
            (Language::C, "pip install ziglang"),
        ] {
            let missing =
                machine.recipe(&plugin(Path::new("/nowhere"), language), Path::new("o")).unwrap_err();
            assert!(missing.to_string().contains(command), "{missing}");
        }
    }

    #[test]
    fn a_plugins_own_tools_come_before_the_machines() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("plugins/p");
        let machine = Machine {
            path: vec![programs(
                &dir.path().join("bin"),
                &[("componentize-qjs", ""), ("componentize-py", "")],
            )],
            virtual_env: None,
        };
        let program = |language| machine.recipe(&plugin(&folder, language), Path::new("o")).unwrap().program;
        assert_eq!(program(Language::JavaScript), dir.path().join("bin/componentize-qjs"));
        assert_eq!(program(Language::Python), dir.path().join("bin/componentize-py"));
        let own = programs(&dir.path().join("plugins/node_modules/.bin"), &[("componentize-qjs", "")]);
        assert_eq!(program(Language::JavaScript), own.join("componentize-qjs"), "of a folder above");
        let own = programs(&folder.join(".venv/bin"), &[("componentize-py", "")]);
        assert_eq!(program(Language::Python), own.join("componentize-py"));
    }

    #[test]
    fn a_c_compiler_is_taken_only_if_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let machine = |named: &[(&str, &str)]| Machine {
            path: vec![programs(&dir.path().join(named.len().to_string()), named)],
            virtual_env: None,
        };
        let first = |named: &[(&str, &str)]| {
            let recipe = machine(named).recipe(&plugin(dir.path(), Language::C), Path::new("o")).ok()?;
            Some((recipe.program.file_name().unwrap().to_owned(), recipe.args[0].clone()))
        };
        let name = |program: &str, arg: &str| Some((OsString::from(program), OsString::from(arg)));
        assert_eq!(first(&[("clang", "echo x86")]), None);
        assert_eq!(
            first(&[("clang", "echo wasm32"), ("wasm-ld", "")]),
            name("clang", "--target=wasm32-unknown-unknown")
        );
        let zig = [("clang", "echo x86"), ("wasm-ld", ""), ("zig", "")];
        assert_eq!(first(&zig), name("zig", "cc"));
        let python = [("clang", "echo x86"), ("a", ""), ("b", ""), ("python3", "echo 0.17.1")];
        assert_eq!(first(&python), name("python3", "-m"));
        let bare = [("clang", ""), ("a", ""), ("b", ""), ("c", ""), ("python3", "exit 1")];
        assert_eq!(first(&bare), None);
    }
}
