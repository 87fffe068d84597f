//! What to say of a file or folder that can't be read: what is wrong, for whom, and what to do.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::problem::Fault;
use super::source::shown;

/// A fault about a path, with help that fits it; `otherwise` helps where the system's word tells nothing better.
pub(super) fn fault(path: &Path, error: &io::Error, otherwise: &str) -> Fault {
    let what = format!("{} can't be read: {}", shown(path), reason(path, error));
    Fault::new(what, help(error, otherwise))
}

/// What an error of the system about a path means, without its number.
pub(super) fn reason(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => denied(rustix::process::geteuid().as_raw(), &Place::of(path)),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::FileTooLarge => "it is too large".to_owned(),
        _ => error.to_string(),
    }
}

pub(super) fn help(error: &io::Error, otherwise: &str) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "let that user read it, by chown, chmod or a group, or start the gateway as a user that may; of a mounted \
             secret, set `fsGroup`, or the mount's `uid` and `gid`"
                .to_owned()
        }
        _ => otherwise.to_owned(),
    }
}

/// What keeps a user from a path.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The file is seen, and is closed.
    File { owner: u32, group: u32, mode: u32 },
    /// A folder on the way is closed.
    Folder(PathBuf),
}

impl Place {
    fn of(path: &Path) -> Self {
        if let Ok(found) = std::fs::metadata(path) {
            return Self::File { owner: found.uid(), group: found.gid(), mode: found.mode() & 0o7777 };
        }
        // What lies in the innermost folder that is seen is not.
        let is_seen = |folder: &&Path| {
            std::fs::metadata(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).is_ok()
        };
        let folder = path.ancestors().skip(1).find(is_seen).unwrap_or(Path::new("/"));
        Self::Folder(if folder.as_os_str().is_empty() { ".".into() } else { folder.to_owned() })
    }
}

fn denied(user: u32, place: &Place) -> String {
    match place {
        Place::File { owner, group, mode } => format!(
            "the gateway's user, {user}, may not read it; it belongs to user {owner} and group {group}, with mode {mode:04o}"
        ),
        Place::Folder(folder) => {
            format!("the gateway's user, {user}, may not look into the folder {}", shown(folder))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_who_may_not_read_what() {
        let file = Place::File { owner: 0, group: 10, mode: 0o600 };
        assert_eq!(
            denied(65_534, &file),
            "the gateway's user, 65534, may not read it; it belongs to user 0 and group 10, with mode 0600"
        );
        let folder = Place::Folder("/run/secrets".into());
        assert_eq!(denied(1, &folder), "the gateway's user, 1, may not look into the folder /run/secrets");
    }

    #[test]
    fn other_words_of_the_system_are_plain() {
        let path = Path::new("a\u{1b}.toml");
        for (kind, what, help) in [
            (io::ErrorKind::NotFound, "a\\u{1b}.toml can't be read: there is no such file", "otherwise"),
            (io::ErrorKind::IsADirectory, "a\\u{1b}.toml can't be read: it is a folder", "otherwise"),
            (io::ErrorKind::FileTooLarge, "a\\u{1b}.toml can't be read: it is too large", "otherwise"),
        ] {
            assert_eq!(fault(path, &kind.into(), "otherwise"), Fault::new(what, help));
        }
        assert!(
            fault(path, &io::ErrorKind::PermissionDenied.into(), "otherwise")
                .help
                .contains("let that user read it")
        );
    }
}
