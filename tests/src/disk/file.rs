//! A file on a disk that forgets: what is seen of it, and what a power cut would leave.

use fastrand::Rng;

use super::Grain;

/// A file whose changes are on the disk for sure only once a sync has covered them.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    /// What a reader sees.
    seen: Vec<u8>,
    kept: Kept,
}

/// What the disk has of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    content: Vec<u8>,
    /// Changes that no sync has covered, oldest first.
    changes: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Resize(to) => content.resize(*to, 0),
        }
    }
}

impl File {
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn read(&self, at: usize, most: usize) -> &[u8] {
        let start = at.min(self.seen.len());
        &self.seen[start..start.saturating_add(most).min(self.seen.len())]
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.change(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub(super) fn resize(&mut self, to: usize) {
        if to != self.seen.len() {
            self.change(Change::Resize(to));
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.kept.changes.push(change);
    }

    /// Brings all changes to the disk.
    pub(super) fn sync(&mut self) {
        let Kept { content, changes } = &mut self.kept;
        changes.drain(..).for_each(|change| change.apply(content));
    }

    /// A sync that fails: some of the changes reach the disk, and none of them will be written again by itself. They
    /// are seen as before, or no longer: that differs by file system.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        self.kept.content = self.kept.after_cut(Grain::random(rng), rng);
        self.kept.changes.clear();
        if rng.u8(0..4) == 0 {
            self.seen.clone_from(&self.kept.content);
        }
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept.clone()
    }
}

impl Kept {
    /// What a power cut leaves: of each part of `grain` bytes, some state that it was in since the last sync.
    pub(super) fn after_cut(&self, grain: Grain, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.content.clone();
        let size = match grain {
            Grain::Nothing => return content,
            Grain::All => {
                self.changes.iter().for_each(|change| change.apply(&mut content));
                return content;
            }
            Grain::Parts(size) => size,
        };
        // Parts of a file that was cut are free before they are written again: what came before the last cut that is on
        // the disk is gone, and nothing is there of what came after the next one.
        let is_cut = |change: &Change| matches!(change, Change::Resize(_));
        let cuts = rng.usize(0..=self.changes.iter().filter(|change| is_cut(change)).count());
        let mut stages = self.changes.split(is_cut);
        let mut ends = self.changes.iter().filter(|change| is_cut(change));
        for _ in 0..cuts {
            stages.next().into_iter().for_each(|writes| apply_parts(&mut content, writes, size, rng));
            ends.next().into_iter().for_each(|cut| cut.apply(&mut content));
        }
        stages.next().into_iter().for_each(|writes| apply_parts(&mut content, writes, size, rng));
        content
    }
}

/// Applies to each part of `size` bytes the first of its changes, up to a number by chance, and as much of the growth.
fn apply_parts(content: &mut Vec<u8>, writes: &[Change], size: usize, rng: &mut Rng) {
    let mut lengths = vec![content.len()];
    let mut touched = std::collections::BTreeMap::<usize, Vec<(usize, &[u8])>>::new();
    for change in writes {
        let Change::Write { at, bytes } = change else { continue };
        lengths.push((at + bytes.len()).max(lengths[lengths.len() - 1]));
        let mut from = *at;
        while from < at + bytes.len() {
            let to = (from / size + 1) * size;
            let to = to.min(at + bytes.len());
            touched.entry(from / size).or_default().push((from, &bytes[from - at..to - at]));
            from = to;
        }
    }
    let length = lengths[rng.usize(0..lengths.len())];
    content.resize(length, 0);
    for pieces in touched.values() {
        for (at, bytes) in &pieces[..rng.usize(0..=pieces.len())] {
            let end = (at + bytes.len()).min(length);
            if *at < end {
                content[*at..end].copy_from_slice(&bytes[..end - at]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(file: &File, grain: Grain, seed: u64) -> Vec<u8> {
        file.kept().after_cut(grain, &mut Rng::with_seed(seed))
    }

    #[test]
    fn what_was_synced_is_kept_and_all_else_may_be_lost() {
        let mut file = File::default();
        file.write(0, b"aaaabbbb");
        assert_eq!(cut(&file, Grain::Nothing, 0), b"");
        assert_eq!(cut(&file, Grain::All, 0), b"aaaabbbb");
        file.sync();
        file.write(4, b"ccccdddd");
        file.write(2, b"xx");
        assert_eq!(file.read(0, 100), b"aaxxccccdddd");
        assert_eq!(cut(&file, Grain::Nothing, 0), b"aaaabbbb");
        let mut found = std::collections::BTreeSet::new();
        for seed in 0..1000 {
            found.insert(cut(&file, Grain::Parts(4), seed));
        }
        // Each part is old or new, the file is short or long, and what is not there of a long one is zeros.
        let (first, second) = ([b"aaaa", b"aaxx"], [b"bbbb", b"cccc"]);
        let ends: [&[u8]; 3] = [b"", b"dddd", b"\0\0\0\0"];
        let mut all = std::collections::BTreeSet::new();
        for first in first {
            for second in second {
                for end in ends {
                    all.insert([first.as_slice(), second, end].concat());
                }
            }
        }
        assert_eq!(found, all);
    }

    #[test]
    fn nothing_of_before_a_cut_comes_back_behind_it() {
        let mut file = File::default();
        file.write(0, b"aaaabbbb");
        file.sync();
        file.resize(0);
        file.write(0, b"cccc");
        let mut found = std::collections::BTreeSet::new();
        for seed in 0..1000 {
            found.insert(cut(&file, Grain::Parts(4), seed));
        }
        let all: [&[u8]; 4] = [b"", b"\0\0\0\0", b"aaaabbbb", b"cccc"];
        assert_eq!(found, all.into_iter().map(<[u8]>::to_vec).collect());
    }

    #[test]
    fn what_a_failed_sync_lost_is_never_written_though_it_is_seen() {
        let (mut lost, mut seen) = (0, 0);
        for seed in 0..100 {
            let mut file = File::default();
            file.write(0, b"aaaa");
            file.fail_sync(&mut Rng::with_seed(seed));
            file.sync();
            let left = cut(&file, Grain::All, 0);
            lost += usize::from(left != b"aaaa");
            seen += usize::from(left != file.read(0, 100));
            file.write(0, b"aaaa");
            file.sync();
            assert_eq!(cut(&file, Grain::Nothing, 0), b"aaaa");
        }
        assert!(lost < 100 && seen > 20 && seen < lost, "{lost}, {seen}");
    }
}
