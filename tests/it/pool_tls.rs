//! TLS to pools: who is believed, who is not, and that lines and shares go through it whole.

use std::io::Read;
use std::net::TcpListener;

use rustls::version;

use super::support::tls_front::{Authority, Certificate, Manners, Shaken, TempFolder, TlsFront};
use super::support::*;

/// The config of one pool with these keys of `tls`, and perhaps further pools behind it.
fn config(url: &str, tls: &str) -> Config {
    Config::new(url).pool_key(&format!("tls: {{ {tls} }}"))
}

/// A scripted pool behind TLS with a certificate for 127.0.0.1, and the file of its issuer.
struct Hall {
    authority: Authority,
    certificate: Certificate,
    files: TempFolder,
    ca: String,
    pool: FakePool,
}

impl Hall {
    fn new() -> Self {
        let authority = Authority::new();
        let certificate = authority.signs("127.0.0.1");
        let files = TempFolder::new();
        let ca = files.write("ca.pem", &authority.pem);
        Self {
            authority,
            certificate,
            files,
            ca: format!("ca: {ca}"),
            pool: FakePool::start(),
        }
    }

    fn front(&self) -> TlsFront {
        TlsFront::start(self.pool.port(), &self.certificate)
    }
}

/// A miner that mines at this pool, with its job, and the link.
fn mines(proxy: &Proxy, pool: &FakePool) -> (FakeMiner, Job, PoolLink) {
    let mut miner = FakeMiner::connect(proxy);
    let subscribe = miner.send_subscribe();
    let link = pool.accept_ready(NONCE_1);
    miner.expect_subscribed(subscribe);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    (miner, job, link)
}

/// A miner that wants work, for which the proxy goes to its pool.
fn asks(proxy: &Proxy) -> FakeMiner {
    let mut miner = FakeMiner::connect(proxy);
    miner.send_subscribe();
    miner
}

/// That a share gets to the pool and its answer back.
fn a_share_goes_through(miner: &mut FakeMiner, job: &Job, link: &mut PoolLink, number: u64) {
    let id = miner.submit(job, number);
    let share = link.expect_submit();
    assert_eq!(share.worker, POOL_WORKER);
    link.accept(&share.id);
    miner.expect_accepted(id);
}

/// That the pool is not believed, and what the log says of it.
fn refused(certificate: &Certificate, tls: &str, expected: &str) {
    let pool = FakePool::start();
    let front = TlsFront::start(pool.port(), certificate);
    let proxy = Proxy::one_shard(&config(&front.url(), tls).yaml());
    let _miner = asks(&proxy);
    let line = proxy.log_contains("link failed");
    assert!(line.contains("reason=tls"), "{line}");
    assert!(line.contains(expected), "{line}");
    assert!(matches!(front.next(), Shaken::Failed(_)));
    pool.expect_no_link();
}

/// That the pool is believed.
fn believed(certificate: &Certificate, tls: &str) -> Proxy {
    let pool = FakePool::start();
    let front = TlsFront::start(pool.port(), certificate);
    let proxy = Proxy::one_shard(&config(&front.url(), tls).yaml());
    let (mut miner, job, mut link) = mines(&proxy, &pool);
    a_share_goes_through(&mut miner, &job, &mut link, 1);
    proxy
}

#[test]
fn a_pool_with_a_known_issuer_is_mined_at() {
    let hall = Hall::new();
    let proxy = believed(&hall.certificate, &hall.ca);
    assert!(!proxy.log().contains("INSECURE"));
}

#[test]
fn a_pool_that_speaks_tls_1_2_alone_is_mined_at() {
    let hall = Hall::new();
    let manners = Manners {
        versions: vec![&version::TLS12],
        ..Manners::default()
    };
    let front = TlsFront::with(hall.pool.port(), &hall.certificate, &manners);
    let proxy = Proxy::start_with(
        &["--cores", "1", "-v"],
        &config(&front.url(), &hall.ca).yaml(),
    );
    let (mut miner, job, mut link) = mines(&proxy, &hall.pool);
    proxy.log_contains("TLS 1.2");
    a_share_goes_through(&mut miner, &job, &mut link, 1);
}

#[test]
fn an_unknown_issuer_is_refused_and_the_log_has_the_pin_that_cures_it() {
    let certificate = Authority::new().signs("127.0.0.1");
    let text = format!(
        "TLS: nobody known here signed its certificate; give tls.ca; tls.pin_sha256: {}",
        certificate.pin()
    );
    refused(&certificate, "", &text);
    believed(
        &certificate,
        &format!("pin_sha256: \"{}\"", certificate.pin()),
    );
}

#[test]
fn a_wrong_name_is_refused_and_server_name_cures_it() {
    let hall = Hall::new();
    let certificate = hall.authority.signs("pool.example");
    let text = "TLS: its certificate is for pool.example, not for 127.0.0.1; if that is the pool, set \
                tls.server_name: pool.example";
    refused(&certificate, &hall.ca, text);

    let front = TlsFront::start(hall.pool.port(), &certificate);
    let named = format!("{}, server_name: pool.example", hall.ca);
    let proxy = Proxy::one_shard(&config(&front.url(), &named).yaml());
    mines(&proxy, &hall.pool);
    let expected = Shaken::Done {
        header: String::new(),
        name: Some("pool.example".to_owned()),
        certificates: 0,
        resumed: false,
    };
    assert_eq!(front.next(), expected);
}

#[test]
fn a_wrong_pin_is_refused_also_where_the_issuer_is_known() {
    let hall = Hall::new();
    let wrong = "0".repeat(64);
    let text = format!("tls.pin_sha256: {}", hall.certificate.pin());
    refused(
        &hall.certificate,
        &format!("pin_sha256: \"{wrong}\""),
        &text,
    );
    let both = format!("{}, pin_sha256: \"{wrong}\"", hall.ca);
    refused(&hall.certificate, &both, &text);
    let pins = format!("pin_sha256: [\"{wrong}\", \"{}\"]", hall.certificate.pin());
    believed(&hall.certificate, &format!("{}, {pins}", hall.ca));
}

#[test]
fn an_expired_certificate_is_refused() {
    let hall = Hall::new();
    let certificate = hall.authority.signs_expired("127.0.0.1");
    refused(&certificate, &hall.ca, "TLS: its certificate expired ");
}

#[test]
fn insecure_believes_anybody_and_says_so_each_time() {
    let certificate = Authority::new().signs_expired("another.example");
    let proxy = believed(&certificate, "insecure: true");
    let log = proxy.log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("INSECURE"))
        .collect();
    assert_eq!(told.len(), 2, "at the start and at the link: {told:#?}");
    assert!(told.iter().all(|line| line.contains("WARN")), "{told:#?}");
}

#[test]
fn a_pool_that_asks_gets_our_certificate() {
    let hall = Hall::new();
    let manners = Manners {
        asks_for: Some(hall.authority.pem.clone()),
        ..Manners::default()
    };
    let front = TlsFront::with(hall.pool.port(), &hall.certificate, &manners);
    let proxy = Proxy::one_shard(&config(&front.url(), &hall.ca).yaml());
    let miner = asks(&proxy);
    proxy.log_contains(
        "the pool sent the alert certificate_required; it wants a client certificate",
    );
    drop((miner, proxy));
    assert!(matches!(front.next(), Shaken::Failed(_)));

    let ours = hall.authority.signs("farm.example");
    let certificate = hall.files.write("farm.pem", &ours.pem);
    let key = hall.files.write("farm.key", &ours.key_pem());
    let tls = format!("{}, certificate: {certificate}, key: {key}", hall.ca);
    let front = TlsFront::with(hall.pool.port(), &hall.certificate, &manners);
    let proxy = Proxy::one_shard(&config(&front.url(), &tls).yaml());
    let (mut miner, job, mut link) = mines(&proxy, &hall.pool);
    assert!(matches!(
        front.next(),
        Shaken::Done {
            certificates: 1,
            ..
        }
    ));
    a_share_goes_through(&mut miner, &job, &mut link, 1);
}

#[test]
fn a_pool_that_is_not_believed_is_passed_over() {
    let hall = Hall::new();
    let stranger = FakePool::start();
    let certificate = Authority::new().signs("127.0.0.1");
    let front = TlsFront::start(stranger.port(), &certificate);
    let good = hall.front();
    let yaml = config(&front.url(), &hall.ca)
        .fallback(&good.url())
        .pool_key(&format!("tls: {{ {} }}", hall.ca))
        .yaml();
    let proxy = Proxy::one_shard(&yaml);
    let (mut miner, job, mut link) = mines(&proxy, &hall.pool);
    a_share_goes_through(&mut miner, &job, &mut link, 1);
    assert!(matches!(front.next(), Shaken::Failed(_)));
    stranger.expect_no_link();
}

#[test]
fn a_lost_link_takes_its_session_up_again() {
    let hall = Hall::new();
    let front = hall.front();
    let proxy = Proxy::one_shard(&config(&front.url(), &hall.ca).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let subscribe = miner.send_subscribe();
    let mut link = hall.pool.accept_link();
    link.expect_subscribe();
    link.reply_subscribe_session("session-1", NONCE_1);
    link.expect_authorize();
    link.reply_authorize();
    link.set_target(TARGET);
    link.notify(&PoolJob::new("pool-job-1"));
    miner.expect_subscribed(subscribe);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    let id = miner.submit(&job, 1);
    let first = link.expect_submit();
    link.close();

    let mut link = hall.pool.accept_link();
    let asked = link.expect_subscribe();
    assert!(asked.raw.contains("session-1"), "{}", asked.raw);
    link.reply_subscribe_session("session-1", NONCE_1);
    link.expect_authorize();
    link.reply_authorize();
    let again = link.expect_submit();
    assert_eq!(again.nonce_2, first.nonce_2);
    link.accept(&again.id);
    miner.expect_accepted(id);
    assert!(matches!(front.next(), Shaken::Done { resumed: false, .. }));
    assert!(matches!(front.next(), Shaken::Done { resumed: true, .. }));
}

#[test]
fn another_ca_file_counts_for_the_next_link_from_sighup_on() {
    const NOBODY: &str = "nobody known here signed its certificate";
    let hall = Hall::new();
    let front = hall.front();
    let stranger = Authority::new();
    hall.files.write("ca.pem", &stranger.pem);
    let proxy = Proxy::one_shard(&config(&front.url(), &hall.ca).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let subscribe = miner.send_subscribe();
    assert!(proxy.log_contains("link failed").contains(NOBODY));
    assert!(matches!(front.next(), Shaken::Failed(_)));
    hall.pool.expect_no_link();

    hall.files.write("ca.pem", &hall.authority.pem);
    proxy.signal("HUP");
    let mut link = hall.pool.accept_ready(NONCE_1);
    miner.expect_subscribed(subscribe);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    a_share_goes_through(&mut miner, &job, &mut link, 1);
    while matches!(front.next(), Shaken::Failed(_)) {}

    // The link that there is goes on; the next one is not believed, though its session could be resumed.
    hall.files.write("ca.pem", &stranger.pem);
    proxy.signal("HUP");
    a_share_goes_through(&mut miner, &job, &mut link, 2);
    link.close();
    let mut tries = 0;
    // A shard takes it up at its next tick.
    while matches!(front.next(), Shaken::Done { .. }) {
        hall.pool.accept_link().close();
        tries += 1;
        assert!(tries < 5, "never taken up");
    }
    hall.pool.expect_no_link();
}

#[test]
fn a_broken_ca_file_of_one_pool_keeps_no_other_from_its_own() {
    let hall = Hall::new();
    let nobody = FakePool::closed();
    let first = nobody.url().replace("tcp", "tls");
    let first_ca = hall.files.write("first.pem", &hall.authority.pem);
    hall.files.write("ca.pem", &Authority::new().pem);
    let front = hall.front();
    let yaml = config(&first, &format!("ca: {first_ca}"))
        .fallback(&front.url())
        .pool_key(&format!("tls: {{ {} }}", hall.ca))
        .yaml();
    let proxy = Proxy::one_shard(&yaml);
    let mut miner = FakeMiner::connect(&proxy);
    let subscribe = miner.send_subscribe();
    assert!(matches!(front.next(), Shaken::Failed(_)));

    hall.files.write("first.pem", "nothing");
    hall.files.write("ca.pem", &hall.authority.pem);
    proxy.signal("HUP");
    let line = proxy.log_contains("SIGHUP: line");
    assert!(line.contains("pools[0].tls.ca"), "{line}");
    proxy.log_contains("pools[0] is believed as before");
    let mut link = hall.pool.accept_ready(NONCE_1);
    miner.expect_subscribed(subscribe);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    a_share_goes_through(&mut miner, &job, &mut link, 1);
}

#[test]
fn a_pool_that_goes_in_mid_handshake_or_never_speaks_is_passed_over() {
    let hall = Hall::new();
    for resets in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bad = format!("stratum+tls://{}", listener.local_addr().unwrap());
        let good = hall.front();
        let yaml = config(&bad, &hall.ca)
            .fallback(&good.url())
            .pool_key(&format!("tls: {{ {} }}", hall.ca))
            .key("limits: { connect_timeout_seconds: 1 }")
            .yaml();
        let proxy = Proxy::one_shard(&yaml);
        let mut miner = FakeMiner::connect(&proxy);
        let subscribe = miner.send_subscribe();
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 3];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(first[..2], [0x16, 3], "a ClientHello");
        let text = if resets {
            let option = socket2::SockRef::from(&stream);
            option.set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(stream);
            "TLS: in the handshake: "
        } else {
            "TLS: no end of the handshake in 1s"
        };
        let line = proxy.log_contains("link failed");
        assert!(line.contains("reason=connect_failed"), "{line}");
        assert!(line.contains(text), "{line}");
        let mut link = hall.pool.accept_ready(NONCE_1);
        miner.expect_subscribed(subscribe);
        miner.authorize("t1addr.rig1");
        let job = miner.expect_job();
        a_share_goes_through(&mut miner, &job, &mut link, 1);
    }
}

#[test]
fn a_plain_pool_behind_a_tls_url_is_told() {
    let pool = FakePool::start();
    let url = pool.url().replace("tcp", "tls");
    let proxy = Proxy::one_shard(&config(&url, "insecure: true").yaml());
    let _miner = asks(&proxy);
    let mut link = pool.accept_link();
    link.send_line("{\"id\":null,\"result\":null,\"error\":[20,\"Unknown method\",null]}");
    let line = proxy.log_contains("link failed");
    let text =
        "what it says is no TLS; if this port of the pool is a plain one, write stratum+tcp://";
    assert!(line.contains(text), "{line}");
}

#[test]
fn a_long_job_comes_whole_out_of_many_records() {
    let hall = Hall::new();
    let manners = Manners {
        record_len_max: Some(64),
        ..Manners::default()
    };
    let front = TlsFront::with(hall.pool.port(), &hall.certificate, &manners);
    let proxy = Proxy::one_shard(&config(&front.url(), &hall.ca).yaml());
    let (mut miner, _, mut link) = mines(&proxy, &hall.pool);
    for number in 0..20 {
        let mut job = PoolJob::new(&format!("job-{number}"));
        job.extras = vec![Json::from("x".repeat(30_000).as_str()).to_string()];
        link.notify(&job);
        let heard = miner.expect_job();
        assert_eq!(heard.params.at(3).text(), job.merkle);
        a_share_goes_through(&mut miner, &heard, &mut link, number);
    }
}

#[test]
fn a_storm_of_shares_arrives_whole_and_in_order() {
    const SHARES: u64 = 3000;
    let hall = Hall::new();
    let front = hall.front();
    let proxy = Proxy::one_shard(&config(&front.url(), &hall.ca).yaml());
    let (mut miner, job, mut link) = mines(&proxy, &hall.pool);
    // 8 MB: more than the pool takes at once, so the proxy is left with a part of a record now and then.
    let ids: Vec<_> = (0..SHARES)
        .map(|number| miner.submit(&job, number))
        .collect();
    let mut asked = Vec::new();
    for number in 0..SHARES {
        let share = link.expect_submit();
        let expected = miner.share(&job, number);
        assert!(share.nonce_2.ends_with(&expected.nonce_2), "{number}");
        assert_eq!(share.solution, expected.solution, "{number}");
        asked.push(share.id);
    }
    for (id, asked) in ids.into_iter().zip(asked) {
        link.accept(&asked);
        miner.expect_accepted(id);
    }
}

#[test]
fn bad_files_are_told_with_key_and_place() {
    let hall = Hall::new();
    let no_pem = hall.files.write("rubbish.pem", "rubbish");
    let url = "stratum+tls://pool.example:3334";
    let yaml = config(
        url,
        &format!("ca: {no_pem}, certificate: gone.pem, key: gone.key"),
    )
    .yaml();
    let file = hall.files.write("proxy.yaml", &yaml);
    let mut check = Program::run(["--check", &file]);
    assert_eq!(check.wait_exit(PATIENCE), 2);
    let log = check.log();
    let folder = std::path::Path::new(&file)
        .parent()
        .unwrap()
        .display()
        .to_string();
    for expected in [
        format!("proxies[0].pools[0].tls.ca: {no_pem} holds no certificate; it must begin with"),
        format!(
            "proxies[0].pools[0].tls.certificate: {folder}/gone.pem can't be read: No such file"
        ),
        format!("proxies[0].pools[0].tls.key: {folder}/gone.key can't be read: No such file"),
    ] {
        assert!(log.contains(&expected), "{expected}\n{log}");
    }
    assert!(log.contains("line 10: "), "{log}");
    assert_eq!(Program::run([&file]).wait_exit(PATIENCE), 2);
}

/// The addresses of a header, of which the second one is the pool's.
fn check_header(header: &str, pool: u16) {
    let words: Vec<&str> = header.trim_end().split(' ').collect();
    let ["PROXY", "TCP4", "127.0.0.1", "127.0.0.1", ours, theirs] = words.as_slice() else {
        panic!("{header:?}");
    };
    assert!(ours.parse::<u16>().is_ok_and(|port| port > 0), "{header:?}");
    assert_eq!(theirs.parse::<u16>().ok(), Some(pool), "{header:?}");
}

#[test]
fn a_pool_that_wants_it_hears_who_we_are_before_tls() {
    let hall = Hall::new();
    let manners = Manners {
        wants_header: true,
        ..Manners::default()
    };
    let front = TlsFront::with(hall.pool.port(), &hall.certificate, &manners);
    let yaml = config(&front.url(), &hall.ca)
        .pool_key("proxy_protocol: v1")
        .yaml();
    let proxy = Proxy::one_shard(&yaml);
    let (mut miner, job, mut link) = mines(&proxy, &hall.pool);
    a_share_goes_through(&mut miner, &job, &mut link, 1);
    let Shaken::Done { header, .. } = front.next() else {
        panic!("no handshake");
    };
    check_header(&header, front.port());
}

#[test]
fn a_plain_pool_that_wants_it_hears_who_we_are_first() {
    let pool = FakePool::start();
    let yaml = Config::new(&pool.url())
        .pool_key("proxy_protocol: v1")
        .yaml();
    let proxy = Proxy::one_shard(&yaml);
    let _miner = asks(&proxy);
    let mut link = pool.accept_link();
    check_header(&link.expect_line(), pool.port());
    link.expect_subscribe();
}
