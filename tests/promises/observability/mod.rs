//! What a running gateway tells of itself is what docs/observability.md and examples/observability say.

mod log;
mod metrics;
mod monitoring;

use hookweir_tests::repository;

/// The rows of the table in docs/observability.md whose first column has this title: their cells.
fn table(title: &str) -> Vec<Vec<String>> {
    let path = repository().join("docs").join("observability.md");
    let text = std::fs::read_to_string(path).expect("docs/observability.md");
    let head = format!("| {title} |");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&head));
    assert!(lines.next().is_some(), "there is no table with {head:?}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let inner = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')).expect("a row");
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// The words in backquotes in a cell.
fn words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
