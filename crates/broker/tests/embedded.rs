//! The example does what it says.

#[path = "../examples/embedded.rs"]
#[allow(dead_code)]
mod embedded;

#[tokio::test]
async fn the_example_publishes_and_reads() {
    let directory = tempfile::tempdir().unwrap();
    let lines = embedded::publish_and_read(directory.path()).await.unwrap();
    assert_eq!(lines, ["0: good morning", "1: good evening"]);
    let again = embedded::publish_and_read(directory.path()).await.unwrap();
    assert_eq!(again.len(), 4);
}
