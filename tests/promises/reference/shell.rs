//! The shell that runs what the page types: one `bash` for the whole page, so that variables, `$?`, `$!` and files are
//! those of the commands before.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use hookweir_tests::{binary, pid_of, toolchains, within};
use rustix::process::{Signal, kill_process_group};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A running shell, in an empty folder.
#[derive(Debug)]
pub(super) struct Shell {
    child: Child,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// How many commands were typed.
    typed: usize,
    folder: TempDir,
}

/// What a command prints, as it prints it, to standard output and standard error alike.
#[derive(Debug)]
pub(super) struct Printed(PathBuf);

impl Printed {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.0).expect("what was printed")).into_owned()
    }
}

impl Shell {
    /// Starts it with more variables. Its commands find the binary as `hookweir`, and the toolchains of plugins.
    pub(super) fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the shell");
        let place = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("a folder");
            path
        };
        let (bin, desk, home, temporary) = (place("bin"), place("desk"), place("home"), place("tmp"));
        std::os::unix::fs::symlink(binary(), bin.join("hookweir")).expect("a link to the binary");
        place("printed");
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .env_clear()
            .env("PATH", path(std::iter::once(bin).chain(toolchains())))
            .env("HOME", home)
            .env("TMPDIR", temporary)
            .envs(variables.iter().copied())
            .current_dir(desk)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("bash");
        let input = child.stdin.take().expect("a piped standard input");
        let answers = BufReader::new(child.stdout.take().expect("a piped standard output")).lines();
        Self { child, input, answers, typed: 0, folder }
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join("desk").join(name), text).expect("a file");
    }

    /// Types a command, and waits until the next one could be typed. Answers its exit status, and what it prints.
    pub(super) async fn run(&mut self, typed: &str) -> (i32, Printed) {
        let printed = self.folder.path().join("printed").join(self.typed.to_string());
        self.typed += 1;
        // The status is told apart from what is printed, and the next command finds it as `$?`.
        let script = format!(
            "{{ {typed}\n}} >'{}' 2>&1 </dev/null\nstatus=$?; echo $status; (exit $status)\n",
            printed.display()
        );
        (self.ask(&script, typed).await, Printed(printed))
    }

    /// The number of the process that was begun last and goes on.
    pub(super) async fn last_process(&mut self) -> i32 {
        self.ask("echo $!\n", "echo $!").await
    }

    /// Waits until a process that goes on has ended, and answers its exit status.
    pub(super) async fn wait(&mut self, process: i32) -> i32 {
        self.ask(&format!("wait {process} 2>/dev/null; echo $?\n"), "wait").await
    }

    async fn ask(&mut self, script: &str, what: &str) -> i32 {
        self.input.write_all(script.as_bytes()).await.expect("the shell to read");
        let line = within(&format!("the end of {what:?}"), self.answers.next_line()).await;
        let line = line.expect("text").unwrap_or_else(|| panic!("the shell ended at {what:?}"));
        line.parse().unwrap_or_else(|_| panic!("the shell answered {line:?} to {what:?}"))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Whatever the page began ends with it.
        if let Some(group) = pid_of(&self.child) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Where programs are looked for: in these folders first.
fn path(first: impl Iterator<Item = PathBuf>) -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(first.chain(std::env::split_paths(&inherited)))
        .expect("folders that can be looked in")
}
