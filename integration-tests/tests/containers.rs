//! A Pulsar out of a container is one that answers under the address that it is said to have; where there is no engine, that is said.

use std::process::Command;

use aquifer_integration_tests::containers::Pulsar;
use tokio::net::TcpStream;

#[tokio::test]
#[ignore = "needs a Docker engine"]
async fn a_container_gives_a_pulsar_that_listens_on_both_addresses() {
    let pulsar = Pulsar::start().await.expect("a Docker engine and the image");
    let (service, admin) = pulsar.address().split_once(',').expect("two addresses");
    for address in [service.strip_prefix("pulsar://"), admin.strip_prefix("http://")] {
        TcpStream::connect(address.expect("its scheme")).await.expect("it listens");
    }
}

#[test]
fn without_an_engine_it_says_so_and_runs_nothing() {
    let run = Command::new(env!("CARGO_BIN_EXE_aquifer-containers"))
        .args(["echo", "was run"])
        // Nobody listens there.
        .env("DOCKER_HOST", "tcp://127.0.0.1:1")
        .output()
        .expect("it was built");
    let (out, error) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert_eq!(run.status.code(), Some(1), "{out}{error}");
    assert!(error.contains("Is there a Docker engine") && error.contains("services/pulsar.sh"), "{error}");
    assert!(!out.contains("was run"), "{out}");
}
