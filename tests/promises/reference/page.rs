//! `docs/cli.md` in its parts: what stands before the first command, and a section a command, which begins with its help.

/// The page.
#[derive(Debug)]
pub(super) struct Page {
    pub head: String,
    pub sections: Vec<Section>,
}

/// What the page says of one command.
#[derive(Debug)]
pub(super) struct Section {
    /// `hookweir event send`
    pub name: String,
    pub help: String,
    /// All that follows the help, as it is written.
    pub rest: String,
}

/// A part of the page between fences.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    pub language: &'a str,
    /// The number of its first line, counted from 1.
    pub number: usize,
    pub lines: Vec<&'a str>,
}

/// A command as it is typed, with what stands below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The number of its line in the page.
    pub number: usize,
    pub typed: String,
    pub written: Vec<String>,
}

impl Page {
    pub(super) fn read(text: &str) -> Self {
        let mut parts = text.split("\n## `");
        let head = parts.next().unwrap_or_default().to_owned();
        Self { head, sections: parts.map(Section::read).collect() }
    }

    /// The page as it is written.
    pub(super) fn text(&self) -> String {
        self.sections.iter().fold(self.head.clone(), |text, section| text + &section.text())
    }
}

impl Section {
    fn read(text: &str) -> Self {
        let (name, rest) = text.split_once("`\n\n```text\n").unwrap_or((text, ""));
        let (help, rest) = rest.split_once("\n```\n").unwrap_or((rest, ""));
        Self { name: name.to_owned(), help: help.to_owned(), rest: rest.to_owned() }
    }

    pub(super) fn text(&self) -> String {
        format!("\n## `{}`\n\n```text\n{}\n```\n{}", self.name, self.help, self.rest)
    }

    /// The commands that are typed below the help.
    pub(super) fn steps(&self) -> Vec<Step> {
        blocks(&self.rest).iter().filter(|block| block.language == "console").flat_map(steps).collect()
    }
}

impl Step {
    /// Whether this command is among what is typed.
    pub(super) fn types(&self, name: &str) -> bool {
        let mut places = self.typed.match_indices(name);
        places.any(|(start, name)| matches!(self.typed.as_bytes().get(start + name.len()), None | Some(b' ')))
    }
}

/// The parts of a text between fences.
pub(crate) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some(Block { language, number: index + 2, lines: Vec::new() }),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.lines.push(line);
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The commands of a session: each begins with `$ ` and goes on in lines that begin with `> `.
pub(super) fn steps(block: &Block<'_>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, line) in block.lines.iter().enumerate() {
        if let Some(typed) = line.strip_prefix("$ ") {
            let typed = typed.to_owned();
            steps.push(Step { number: block.number + index, typed, written: Vec::new() });
            continue;
        }
        let step =
            steps.last_mut().unwrap_or_else(|| panic!("a session begins with {line:?}, which nobody typed"));
        match line.strip_prefix("> ") {
            Some(more) if step.written.is_empty() => {
                step.typed.push('\n');
                step.typed.push_str(more);
            }
            _ => step.written.push((*line).to_owned()),
        }
    }
    steps
}

#[test]
fn a_page_is_read_and_written_without_a_change() {
    let text = "# Title\n\n```toml\na = 1\n```\n\n## `hookweir`\n\n```text\nhelp\n\nOptions:\n```\n\n## `hookweir a b`\n\n\
                ```text\nmore\n```\n\nExample:\n\n```console\n$ hookweir a b <<X\n> 1\n> X\nsaid\n\n> so\n$ echo $?\n1\n```\n";
    let page = Page::read(text);
    assert_eq!(page.text(), text);
    assert_eq!(blocks(&page.head), [Block { language: "toml", number: 4, lines: vec!["a = 1"] }]);
    let [first, second] = &page.sections[..] else { panic!("{page:?}") };
    assert_eq!(
        (first.name.as_str(), first.help.as_str(), first.rest.as_str()),
        ("hookweir", "help\n\nOptions:", "")
    );
    assert_eq!((second.name.as_str(), second.help.as_str()), ("hookweir a b", "more"));
    let step = |number, typed: &str, written: &[&str]| Step {
        number,
        typed: typed.to_owned(),
        written: written.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(
        second.steps(),
        [step(5, "hookweir a b <<X\n1\nX", &["said", "", "> so"]), step(11, "echo $?", &["1"])]
    );
}
