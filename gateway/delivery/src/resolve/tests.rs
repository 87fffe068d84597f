//! What is asked, and that the machine's files are followed. Real name servers are asked in `tests/way_out`.

use std::fs;

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

#[test]
fn only_what_the_policy_says_comes_from_the_machine() {
    let configured: SocketAddr = "192.0.2.1:5353".parse().unwrap();
    let system =
        System { servers: vec!["192.0.2.2".parse().unwrap()], search: vec![name("example.com.")], ndots: 5 };
    for (servers, local_names, asked, search) in [
        (&[configured][..], false, configured, 0),
        (&[configured][..], true, configured, 1),
        (&[][..], false, "192.0.2.2:53".parse().unwrap(), 0),
        (&[][..], true, "192.0.2.2:53".parse().unwrap(), 1),
    ] {
        let (config, options) = settings(servers, local_names, &system);
        assert_eq!((config.domain(), config.search().len()), (None, search));
        assert_eq!(options.use_hosts_file, ResolveHosts::Never);
        assert_eq!(options.ndots == 5, local_names);
        let [server] = config.name_servers() else { panic!("{:?}", config.name_servers()) };
        assert_eq!(server.ip, asked.ip());
        let ports: Vec<u16> = server.connections.iter().map(|way| way.port).collect();
        assert_eq!(ports, [asked.port(); 2]);
    }
}

#[test]
fn resolv_conf_is_read_as_everywhere() {
    for (text, servers, search, ndots) in [
        ("", "", "", 0),
        ("search example.com\n", "", "", 0),
        ("nameserver 192.0.2.1\n", "192.0.2.1", "", 1),
        (
            "# made by a program\nnameserver 192.0.2.1\nnameserver fd00::1\nsearch a.example b.example\noptions ndots:5\n",
            "192.0.2.1 fd00::1",
            "a.example b.example",
            5,
        ),
        ("domain example.com\nnameserver 192.0.2.1\n", "192.0.2.1", "example.com", 1),
    ] {
        let found = System::parse(text.as_bytes());
        let servers: Vec<IpAddr> = servers.split_whitespace().map(|text| text.parse().unwrap()).collect();
        assert_eq!(found.servers, servers, "{text}");
        let names: Vec<String> =
            found.search.iter().map(|name| name.to_ascii().trim_end_matches('.').to_owned()).collect();
        assert_eq!(names.join(" "), search, "{text}");
        assert_eq!(found.ndots, ndots, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_machines_files_are_read_again_when_they_were_changed() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { resolv_conf: folder.path().join("resolv.conf"), hosts: folder.path().join("hosts") };
    let names = Names::with_files(&EgressPolicy::default(), files.clone()).unwrap();
    let servers = || {
        let known = names.known.lock().unwrap();
        known.system.servers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
    };
    let addresses = |name: &str| names.current().1.addresses(name).len();
    assert_eq!((names.current().2, servers().as_str(), addresses("receiver")), (false, "", 0));

    fs::write(&files.resolv_conf, "nameserver 192.0.2.1\n").unwrap();
    fs::write(&files.hosts, "192.0.2.7 receiver\n").unwrap();
    assert_eq!(
        (names.current().2, addresses("receiver")),
        (false, 0),
        "no more often than every few seconds"
    );
    tokio::time::advance(LOOK_AGAIN).await;
    assert_eq!((names.current().2, servers().as_str(), addresses("receiver")), (true, "192.0.2.1", 1));

    // Another file in its place, of the same size, as programs that keep it do; and a reload asks at once.
    fs::write(folder.path().join("new"), "nameserver 192.0.2.2\n").unwrap();
    fs::rename(folder.path().join("new"), &files.resolv_conf).unwrap();
    fs::remove_file(&files.hosts).unwrap();
    names.look_again();
    assert_eq!((names.current().2, servers().as_str(), addresses("receiver")), (true, "192.0.2.2", 0));

    // The same again under another time is no change.
    let before = names.current().0;
    fs::write(folder.path().join("new"), "# by another program\nnameserver 192.0.2.2\n").unwrap();
    fs::rename(folder.path().join("new"), &files.resolv_conf).unwrap();
    names.look_again();
    assert!(Arc::ptr_eq(&before, &names.current().0));
    fs::remove_file(&files.resolv_conf).unwrap();
    tokio::time::advance(LOOK_AGAIN).await;
    assert!(!names.current().2);
}
