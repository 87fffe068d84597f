//! All rows of the tables that can still be read, whatever is damaged.

use std::collections::{HashMap, HashSet};

use super::node::{self, Kind, Stored};
use super::pages::{Pages, Parents};
use crate::engines::embedded::fault::Fault;

/// Where the trees of a file begin, by the name of the table or index.
pub(super) type Roots = HashMap<String, u32>;

/// What was found damaged on the way.
#[derive(Debug, Default)]
pub(super) struct Harm {
    /// The tree and the page.
    pub(super) pages: Vec<(&'static str, u32)>,
    pub(super) cells: usize,
}

/// Walks trees. A page is visited once, whatever points to it.
pub(super) struct Walk<'p> {
    pages: &'p Pages,
    parents: Parents,
    visited: HashSet<u32>,
    /// Pages that a tree points to and the map of parents has elsewhere. They are visited last, if nothing else has led
    /// there.
    doubtful: Vec<(&'static str, u32)>,
    pub(super) harm: Harm,
}

impl<'p> Walk<'p> {
    pub(super) fn new(pages: &'p Pages) -> Self {
        let parents = pages.parents();
        Self { pages, parents, visited: HashSet::new(), doubtful: Vec::new(), harm: Harm::default() }
    }

    /// The roots that the file itself names.
    pub(super) fn roots(&mut self) -> Result<Roots, Fault> {
        use rusqlite::types::Value;
        let mut roots = Roots::new();
        self.tree("sqlite_schema", Kind::Numbered, 1, &mut |row| {
            if let [_, Value::Text(name), _, Value::Integer(root), ..] = &row.columns[..]
                && let Ok(root) = u32::try_from(*root)
            {
                roots.insert(name.clone(), root);
            }
            Ok(())
        })?;
        Ok(roots)
    }

    pub(super) fn is_root(&self, page: u32) -> bool {
        self.parents.is_root(page)
    }

    /// Hands over every row of a tree that can be read, in no order.
    pub(super) fn tree(
        &mut self,
        name: &'static str,
        kind: Kind,
        root: u32,
        take: &mut dyn FnMut(Stored) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut open = vec![root];
        while let Some(number) = open.pop() {
            if number == 0 || number > self.pages.count() || !self.visited.insert(number) {
                continue;
            }
            let page = self.pages.read(number);
            let node = page.and_then(|page| node::read(self.pages, kind, number, &page));
            let Some(node) = node else {
                self.harm.pages.push((name, number));
                open.extend(self.parents.under(number));
                continue;
            };
            self.harm.cells += node.bad_cells;
            for child in node.children {
                if self.parents.contradict(number, child) {
                    self.doubtful.push((name, child));
                } else {
                    open.push(child);
                }
            }
            open.extend(self.parents.under(number));
            node.rows.into_iter().try_for_each(&mut *take)?;
        }
        Ok(())
    }

    /// The pages of this tree that are left, after all trees were walked.
    pub(super) fn left_of(&mut self, name: &str) -> Vec<u32> {
        let (of_it, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.doubtful).into_iter().partition(|(tree, _)| *tree == name);
        self.doubtful = others;
        let left = of_it.into_iter().map(|(_, page)| page);
        left.filter(|page| !self.visited.contains(page)).collect()
    }
}
