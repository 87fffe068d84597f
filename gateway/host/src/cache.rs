//! Compiled plugins on disk, so that each is compiled once.
//!
//! The folder is the gateway's own: mode 0700, files 0600. A file's name holds the component's SHA-256 and a hash of
//! all that makes compiled code fit this engine; beside it lies the SHA-256 of the compiled code. What is missing,
//! damaged or of another engine is simply not there, and gets compiled again.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
#[cfg(feature = "compiler")]
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hookweir_model::Digest;
use wasmtime::{Engine, Precompiled};

use crate::error::HostError;

/// A draft this old was left by a process that died: no compilation takes so long.
const STALE_DRAFT: Duration = Duration::from_secs(3600);

/// Which rewriting a component went through before it was compiled. It goes up when that changes what comes out.
#[cfg(feature = "compiler")]
const REWRITING: u32 = 1;

#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    /// Told apart by it: code of another wasmtime and of other settings. Code for another processor is found, and refused
    /// when it is loaded. A build without a compiler can't know it: what it finds of any, the engine takes or refuses.
    engine: Option<u64>,
    drafts: AtomicU64,
}

/// A file that the compiler writes. It is removed if it is not kept.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    file: File,
}

impl Cache {
    /// Makes the folder, or checks that it is fit to hold code, and removes what a dead process left in it.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Self, HostError> {
        let failed = |source| HostError::Cache { path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let metadata = fs::metadata(dir).map_err(failed)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(HostError::CacheOwner { path: dir.to_owned() });
        }
        if metadata.mode() & 0o077 != 0 {
            fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let cache = Self { dir: dir.to_owned(), engine: compatibility(engine), drafts: AtomicU64::new(0) };
        cache.remove_stale_drafts(SystemTime::now()).map_err(failed)?;
        Ok(cache)
    }

    /// The compiled form of the component, if it is there and whole.
    pub(crate) fn find(&self, component: &Digest) -> Option<PathBuf> {
        let path = match self.engine {
            Some(_) => self.path(component),
            None => self.newest(component)?,
        };
        let noted = fs::read_to_string(sum_path(&path)).ok()?;
        let code = fs::read(&path).ok()?;
        let whole = Digest::parse(noted.trim_end()) == Some(Digest::of(&code));
        if !(whole && is_code(&code)) {
            tracing::warn!(
                target: "hookweir::plugin",
                plugin = %component,
                "a compiled plugin in the cache is damaged and is compiled again"
            );
            return None;
        }
        Some(path)
    }

    /// A new file for the compiler to write to.
    pub(crate) fn draft(&self) -> Result<Draft, HostError> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{}-{number}.draft", std::process::id()));
        // A draft of this name can only be left from an earlier process with the same number.
        let removed = fs::remove_file(&path);
        removed.or_else(absent_is_fine).and_then(|()| create(&path)).map_or_else(
            |source| Err(HostError::Cache { path: path.clone(), source }),
            |file| Ok(Draft { path: path.clone(), file }),
        )
    }

    /// Keeps what the compiler wrote as the compiled form of the component. It is on disk when this returns.
    pub(crate) fn keep(&self, draft: &Draft, component: &Digest) -> Result<PathBuf, HostError> {
        let path = self.path(component);
        self.try_keep(draft, &path).map_err(|source| HostError::Cache { path: path.clone(), source })?;
        Ok(path)
    }

    /// Forgets the compiled form of the component.
    pub(crate) fn discard(&self, component: &Digest) {
        let path = self.path(component);
        for path in [sum_path(&path), path] {
            if let Err(error) = fs::remove_file(&path).or_else(absent_is_fine) {
                tracing::warn!(
                    target: "hookweir::plugin",
                    path = %path.display(),
                    %error,
                    "a compiled plugin can't be removed"
                );
            }
        }
    }

    fn try_keep(&self, draft: &Draft, path: &Path) -> io::Result<()> {
        let code = fs::read(&draft.path)?;
        if !is_code(&code) {
            return Err(io::Error::other("the compiler wrote something else than a compiled component"));
        }
        let sum = Digest::of(&code);
        let sum_draft = draft.path.with_extension("sum.draft");
        let mut sum_file = create(&sum_draft)?;
        writeln!(sum_file, "{sum}")?;
        sum_file.sync_all()?;
        draft.file.sync_all()?;
        // Between the two renames the sum fits no code, which `find` takes for damage: harmless.
        fs::rename(&sum_draft, sum_path(path))?;
        fs::rename(&draft.path, path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn remove_stale_drafts(&self, now: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let is_draft = entry.path().extension().is_some_and(|extension| extension == "draft");
            let age = entry.metadata()?.modified().ok().and_then(|at| now.duration_since(at).ok());
            if is_draft && age.is_some_and(|age| age > STALE_DRAFT) {
                fs::remove_file(entry.path()).or_else(absent_is_fine)?;
            }
        }
        Ok(())
    }

    fn path(&self, component: &Digest) -> PathBuf {
        self.dir.join(format!("{component}-{:016x}.cwasm", self.engine.unwrap_or_default()))
    }

    /// What was compiled last of the component, for whatever engine.
    fn newest(&self, component: &Digest) -> Option<PathBuf> {
        let start = format!("{component}-");
        let compiled = fs::read_dir(&self.dir).ok()?.filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let is_code = name.starts_with(&start) && name.ends_with(".cwasm");
            is_code.then_some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        });
        compiled.max().map(|(_, path)| path)
    }
}

impl Draft {
    /// The open file, to be the compiler's standard output.
    pub(crate) fn output(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is gone already where it was kept.
        if let Err(error) = fs::remove_file(&self.path).or_else(absent_is_fine) {
            tracing::warn!(
                target: "hookweir::plugin",
                path = %self.path.display(),
                %error,
                "an unfinished compiled plugin can't be removed"
            );
        }
    }
}

#[cfg(feature = "compiler")]
fn compatibility(engine: &Engine) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    REWRITING.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(not(feature = "compiler"))]
const fn compatibility(_: &Engine) -> Option<u64> {
    None
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Whether the header is that of a compiled component.
fn is_code(bytes: &[u8]) -> bool {
    matches!(Engine::detect_precompiled(bytes), Some(Precompiled::Component))
}

fn sum_path(code: &Path) -> PathBuf {
    code.with_extension("sha256")
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_compiler_what_was_compiled_last_is_found_whatever_its_engine() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| Digest::of(name.as_bytes());
        let file = |component: &Digest, engine: &str, seconds: u64| {
            let path = folder.path().join(format!("{component}-{engine}.cwasm"));
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            create(&path).unwrap().set_modified(at).unwrap();
            path
        };
        let cache = |engine| Cache { dir: folder.path().to_owned(), engine, drafts: AtomicU64::new(0) };
        file(&of("a"), "1111111111111111", 100);
        let last = file(&of("a"), "2222222222222222", 300);
        file(&of("b"), "3333333333333333", 400);
        fs::write(folder.path().join(format!("{}-4.sha256", of("a"))), "").unwrap();
        assert_eq!(cache(None).newest(&of("a")), Some(last));
        assert_eq!(cache(None).newest(&of("c")), None);
        assert_eq!(cache(Some(0x1111_1111_1111_1111)).find(&of("a")), None, "it is not whole");
    }
}
