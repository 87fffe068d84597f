//! `hookweir demo --once`, the first command that a newcomer runs.

use hookweir_tests::{binary, run};
use tokio::process::Command;

#[tokio::test]
async fn the_demo_shows_every_step_and_ends_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary());
    command.args(["demo", "--once"]).current_dir(folder.path());
    let output = run(&mut command, b"").await.expect(0);
    println!("{}", output.stdout);
    for step in [
        "accepted",
        "kept",
        "dropped",
        "transformed",
        "signature verified",
        "answered 500",
        "retry",
        "delivered",
        "filtered",
    ] {
        assert!(output.stdout.contains(step), "no {step:?} in\n{}", output.stdout);
    }
    assert!(!output.stdout.contains("WRONG"), "{}", output.stdout);
    assert_eq!(output.stderr, "", "the demo has nothing to complain about");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    assert!(left.is_empty(), "the demo leaves nothing behind: {left:?}");
}
