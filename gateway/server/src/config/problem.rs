//! What is wrong with a configuration: gathered while it is checked, and shown all at once.
//!
//! A problem is shown with its file, line, column and the key's full name, the line itself with a caret under the
//! place, and a sentence of help. Secrets that stand in the files are masked in the lines that are shown.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{FileId, Source, shown, without_secrets};

/// Why a value can't be used, told apart from where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// What is wrong, as a fragment.
    pub what: String,
    /// What to do instead.
    pub help: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        // A value stands in many a fault, and a secret may stand where it does not belong.
        Self { what: without_secrets(what.into()), help: without_secrets(help.into()) }
    }
}

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub file: FileId,
    pub span: Range<usize>,
}

/// One thing that is wrong.
#[derive(Debug)]
struct Problem {
    /// The key's full name; empty where the problem is the file's.
    key: String,
    fault: Fault,
    place: Option<Place>,
    /// Another place that has to do with it, and what it is.
    also: Option<(Place, &'static str)>,
    /// The file that can't be read, where that is the problem: the place is where it is named.
    missing: Option<PathBuf>,
}

/// Whose fault the problems are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Nobody,
    /// The main file's: nothing of the configuration can be used.
    Main,
    /// That of these files alone, and of those that can't be read.
    Included(BTreeSet<FileId>, BTreeSet<PathBuf>),
}

/// Gathers problems, and the places of secrets, while the files are walked.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    warnings: Vec<(Severity, Problem)>,
    secrets: Vec<Place>,
}

/// How much a remark about a configuration matters that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// It may be a mistake, and is none for certain.
    Warning,
    /// It is done otherwise than it is written: `check` tells it, the log does not.
    Note,
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A remark about a configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Warning {
    pub severity: Severity,
    /// The file and line; empty where no place stands for it.
    place: String,
    key: String,
    message: String,
    help: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity: _, place, key, message, help } = self;
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{key}: {message}; {help}")
    }
}

impl Report {
    pub(super) fn add(&mut self, key: &str, place: &Place, fault: Fault) {
        self.problems.push(Problem {
            key: key.to_owned(),
            fault,
            place: Some(place.clone()),
            also: None,
            missing: None,
        });
    }

    /// Adds that a file which is named at `place` can't be read.
    pub(super) fn add_missing(&mut self, key: &str, place: &Place, fault: Fault, path: PathBuf) {
        let (key, place, missing) = (key.to_owned(), Some(place.clone()), Some(path));
        self.problems.push(Problem { key, fault, place, also: None, missing });
    }

    pub(super) fn blame(&self) -> Blame {
        let (mut files, mut missing) = (BTreeSet::new(), BTreeSet::new());
        for problem in &self.problems {
            match (&problem.missing, &problem.place) {
                (Some(path), _) => drop(missing.insert(path.clone())),
                (None, Some(place)) if place.file != FileId(0) => drop(files.insert(place.file)),
                _ => return Blame::Main,
            }
        }
        if files.is_empty() && missing.is_empty() { Blame::Nobody } else { Blame::Included(files, missing) }
    }

    /// Adds a problem that two places make together.
    pub(super) fn add_pair(
        &mut self,
        key: &str,
        place: &Place,
        fault: Fault,
        other: &Place,
        role: &'static str,
    ) {
        let also = Some((other.clone(), role));
        self.problems.push(Problem {
            key: key.to_owned(),
            fault,
            place: Some(place.clone()),
            also,
            missing: None,
        });
    }

    /// Adds what may be a mistake. `place` is where it stands, if it stands anywhere.
    pub(super) fn warn(&mut self, key: &str, place: Option<&Place>, fault: Fault) {
        self.remark(Severity::Warning, key, place, fault);
    }

    /// Adds that something is done otherwise than it is written.
    pub(super) fn note(&mut self, key: &str, place: &Place, fault: Fault) {
        self.remark(Severity::Note, key, Some(place), fault);
    }

    fn remark(&mut self, severity: Severity, key: &str, place: Option<&Place>, fault: Fault) {
        let (key, place) = (key.to_owned(), place.cloned());
        self.warnings.push((severity, Problem { key, fault, place, also: None, missing: None }));
    }

    /// The remarks so far, in the order in which they were added.
    pub(super) fn take_warnings(&mut self, sources: &[&Source]) -> Vec<Warning> {
        let shown = |(severity, warning): (Severity, Problem)| {
            let place = warning.place.as_ref().and_then(|place| {
                let source = sources.get(place.file.0)?;
                Some(format!("{}:{}", source.shown_path(), source.position(place.span.start).0))
            });
            let Fault { what, help } = warning.fault;
            Warning { severity, place: place.unwrap_or_default(), key: warning.key, message: what, help }
        };
        std::mem::take(&mut self.warnings).into_iter().map(shown).collect()
    }

    /// Keeps a stretch of a file out of everything that is shown.
    pub(super) fn hide(&mut self, place: &Place) {
        self.secrets.push(place.clone());
    }

    /// The problems in the order of the files and their lines; `None` if there are none.
    pub(super) fn into_problems(self, sources: impl IntoIterator<Item = Source>) -> Option<Problems> {
        let Self { mut problems, warnings: _, secrets } = self;
        if problems.is_empty() {
            return None;
        }
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.file, place.span.start)));
        let mut sources: Vec<Source> = sources.into_iter().collect();
        for (index, source) in sources.iter_mut().enumerate() {
            source.mask(secrets.iter().filter(|place| place.file == FileId(index)).map(|place| &place.span));
        }
        Some(Problems { problems, sources })
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    problems: Vec<Problem>,
    /// With their secrets masked.
    sources: Vec<Source>,
}

/// A problem as scripts read it.
#[derive(Debug, serde::Serialize)]
pub(crate) struct ProblemView<'a> {
    /// As it was given on the command line or in `include`.
    file: Option<String>,
    /// From 1, and so is the column, which counts characters.
    line: Option<usize>,
    column: Option<usize>,
    key: &'a str,
    message: &'a str,
    help: &'a str,
}

impl Problems {
    /// The one problem of a configuration whose main file can't be read.
    pub(super) fn of_unreadable(path: &Path, fault: Fault) -> Self {
        let key = shown(path);
        Self {
            problems: vec![Problem { key, fault, place: None, also: None, missing: None }],
            sources: Vec::new(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.problems.len()
    }

    /// A line for each problem.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |view: ProblemView<'_>| {
            let place = match (view.file, view.line) {
                (Some(file), Some(line)) => format!("{file}:{line}: "),
                _ => String::new(),
            };
            let key = if view.key.is_empty() { String::new() } else { format!("{}: ", view.key) };
            format!("{place}{key}{}; {}", view.message, view.help)
        };
        self.views().map(line).collect()
    }

    /// All problems as text for people, with a count at the end.
    pub(crate) fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&self.render_one(problem, &renderer));
            text.push_str("\n\n");
        }
        text.push_str(&match self.count() {
            1 => "1 problem in the configuration\n".to_owned(),
            count => format!("{count} problems in the configuration\n"),
        });
        text
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = ProblemView<'_>> {
        self.problems.iter().map(|problem| {
            let source =
                problem.place.as_ref().and_then(|place| Some((self.source(place)?, place.span.start)));
            let position = source.map(|(source, offset)| source.position(offset));
            ProblemView {
                file: source.map(|(source, _)| source.shown_path()),
                line: position.map(|(line, _)| line),
                column: position.map(|(_, column)| column),
                key: &problem.key,
                message: &problem.fault.what,
                help: &problem.fault.help,
            }
        })
    }

    fn source(&self, place: &Place) -> Option<&Source> {
        self.sources.get(place.file.0)
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let title = match problem.key.as_str() {
            "" => problem.fault.what.clone(),
            key => format!("{key}: {}", problem.fault.what),
        };
        let mut group = Group::with_title(Level::ERROR.primary_title(title));
        if let Some((place, source)) =
            problem.place.as_ref().and_then(|place| Some((place, self.source(place)?)))
        {
            let mut snippet =
                snippet(source).annotation(AnnotationKind::Primary.span(source.first_line(&place.span)));
            match &problem.also {
                Some((other, role)) if other.file == place.file => {
                    let span = source.first_line(&other.span);
                    snippet = snippet.annotation(AnnotationKind::Context.span(span).label(*role));
                    group = group.element(snippet);
                }
                Some((other, role)) => {
                    group = group.element(snippet);
                    if let Some(source) = self.source(other) {
                        let annotation =
                            AnnotationKind::Context.span(source.first_line(&other.span)).label(*role);
                        group = group.element(self::snippet(source).annotation(annotation));
                    }
                }
                None => group = group.element(snippet),
            }
        }
        let help = annotate_snippets::normalize_untrusted_str(&problem.fault.help);
        renderer.render(&[group.element(Level::HELP.message(help))])
    }
}

fn snippet(source: &Source) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    Snippet::source(source.text()).path(source.shown_path())
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}
