//! Targets and jobs on their way from the pool to the miner.

use crate::support::{Config, FakeMiner, FakePool, Json, NONCE_1, PoolJob, Proxy, Scene, TARGET};

#[test]
fn a_job_reaches_the_miner_field_by_field() {
    let mut scene = Scene::start();
    let pool_job = PoolJob::new("cccd").clean(false);
    let job = scene.announce(&pool_job);
    let fields = [
        &pool_job.version,
        &pool_job.previous,
        &pool_job.merkle,
        &pool_job.reserved,
        &pool_job.time,
        &pool_job.bits,
    ];
    for (index, field) in fields.into_iter().enumerate() {
        assert_eq!(job.params.at(index + 1).text(), field);
    }
    assert_eq!(*job.params.at(7), Json::Bool(false));
    assert_eq!(job.params.items().len(), 8);
}

#[test]
fn a_job_has_the_form_of_zip_301() {
    let mut scene = Scene::start();
    let pool_job = PoolJob::new("cccd").clean(false);
    scene.link.notify(&pool_job);
    let line = scene.miner.expect_line();
    let id = Json::parse(&line).unwrap().get("params").at(0).clone();
    let mut expected = pool_job;
    id.text().clone_into(&mut expected.id);
    let params = expected.params();
    assert_eq!(
        line,
        format!(r#"{{"id":null,"method":"mining.notify","params":{params}}}"#)
    );
}

#[test]
fn a_target_comes_before_its_job() {
    let mut scene = Scene::start();
    let target = "000009f51d1cf698338000000000000000000000000000000000000000000000";
    scene.link.set_target(target);
    scene.link.notify(&PoolJob::new("2"));
    assert_eq!(
        scene.miner.expect_line(),
        format!(r#"{{"id":null,"method":"mining.set_target","params":["{target}"]}}"#)
    );
    assert!(scene.miner.expect_line().contains("mining.notify"));
}

#[test]
fn the_first_job_has_the_pools_target() {
    assert_eq!(Scene::start().job.target.as_deref(), Some(TARGET));
}

#[test]
fn an_unchanged_target_serves_the_next_job_too() {
    let mut scene = Scene::start();
    let job = scene.announce(&PoolJob::new("2"));
    assert_eq!(job.target.as_deref(), Some(TARGET));
}

#[test]
fn a_short_target_is_padded_on_the_left() {
    let mut scene = Scene::start();
    let short = "15555555555555555555555555555555555555555555555555555555555552";
    scene.link.set_target(short);
    let job = scene.announce(&PoolJob::new("2"));
    assert_eq!(job.target, Some(format!("00{short}")));
}

#[test]
fn a_target_of_odd_length_is_padded_on_the_left() {
    let mut scene = Scene::start();
    scene.link.set_target("7ffff");
    let job = scene.announce(&PoolJob::new("2"));
    assert_eq!(job.target, Some(format!("{:0>64}", "7ffff")));
}

#[test]
fn a_newcomer_gets_the_current_job_with_its_target() {
    let mut scene = Scene::start();
    let target = "000009f51d1cf698338000000000000000000000000000000000000000000000";
    scene.link.set_target(target);
    let job = scene.announce(&PoolJob::new("2"));
    let (_newcomer, newcomers_job) = scene.another_miner("t1addr.rig2");
    assert_eq!(newcomers_job.id, job.id);
    assert_eq!(newcomers_job.target.as_deref(), Some(target));
    assert_eq!(newcomers_job.params.at(3), job.params.at(3));
}

#[test]
fn the_first_job_of_a_newcomer_is_clean_whatever_the_pool_said() {
    let mut scene = Scene::start();
    let job = scene.announce(&PoolJob::new("2").clean(false));
    assert!(!job.clean);
    let (_newcomer, newcomers_job) = scene.another_miner("t1addr.rig2");
    assert!(newcomers_job.clean);
}

#[test]
fn the_clean_flag_is_the_pools() {
    let mut scene = Scene::start();
    for (id, clean) in [("2", false), ("3", true), ("4", false)] {
        assert_eq!(scene.announce(&PoolJob::new(id).clean(clean)).clean, clean);
    }
}

fn passes_extra_params_on(extras: &[&str]) {
    let mut scene = Scene::start();
    let mut pool_job = PoolJob::new("2");
    pool_job.extras = extras.iter().map(|&extra| extra.to_owned()).collect();
    let job = scene.announce(&pool_job);
    assert_eq!(job.params.items().len(), 8 + extras.len());
    for (index, extra) in extras.iter().enumerate() {
        assert_eq!(job.params.at(8 + index).to_string(), *extra);
    }
    scene.expect_share_passes(1);
}

#[test]
fn a_ninth_param_is_passed_on() {
    passes_extra_params_on(&[r#""144_5""#]);
}

#[test]
fn a_tenth_param_is_passed_on() {
    passes_extra_params_on(&[r#""144_5""#, r#""BgoldPoW""#]);
}

#[test]
fn extra_params_of_other_types_are_passed_on() {
    passes_extra_params_on(&["null", "1.50", r#"{"height":[1,2]}"#]);
}

#[test]
fn any_version_is_passed_on() {
    let mut scene = Scene::start();
    let mut pool_job = PoolJob::new("2");
    "00000020".clone_into(&mut pool_job.version);
    assert_eq!(scene.announce(&pool_job).params.at(1).text(), "00000020");
}

#[test]
fn job_ids_are_ours_and_short_hex() {
    let mut scene = Scene::start();
    let mut ids = vec![scene.job.id.clone()];
    for _ in 0..5 {
        // Pools use an id again, for another content.
        let mut pool_job = PoolJob::new("1478412275_3922");
        pool_job.merkle = format!("{:064x}", ids.len());
        ids.push(scene.announce(&pool_job).id);
    }
    for (index, id) in ids.iter().enumerate() {
        assert!((1..=8).contains(&id.len()), "{id}");
        assert!(
            id.bytes().all(|byte| b"0123456789abcdef".contains(&byte)),
            "{id}"
        );
        assert!(!ids[..index].contains(id), "{id} twice in {ids:?}");
    }
}

#[test]
fn the_pools_job_id_comes_back_to_it_as_it_was() {
    let mut scene = Scene::start();
    let long = "x".repeat(64);
    let ids = ["1", "1478412275_3922", "a \"quoted\" \\ id", "é", &long];
    for (seed, id) in (1..).zip(ids) {
        scene.announce(&PoolJob::new(id));
        let request = scene.miner.submit(&scene.job, seed);
        let submit = scene.link.expect_submit();
        assert_eq!(submit.job, id);
        scene.link.accept(&submit.id);
        scene.miner.expect_accepted(request);
    }
}

#[test]
fn a_job_outlives_clean_jobs_and_the_pool_judges() {
    let mut scene = Scene::start();
    let old = scene.job.clone();
    scene.announce(&PoolJob::new("2"));
    scene.announce(&PoolJob::new("3"));
    let id = scene.miner.submit(&old, 1);
    let submit = scene.link.expect_submit();
    assert_eq!(submit.job, "pool-job-1");
    scene.link.accept(&submit.id);
    scene.miner.expect_accepted(id);
}

#[test]
fn a_job_id_that_the_pool_uses_again_means_the_right_content() {
    let mut scene = Scene::start();
    let first = scene.announce(&PoolJob::new("again"));
    let mut pool_job = PoolJob::new("again");
    "b8becc5b".clone_into(&mut pool_job.time);
    pool_job.merkle = "11".repeat(32);
    let second = scene.announce(&pool_job);
    assert_ne!(first.id, second.id);
    scene.expect_share_passes(1);
}

#[test]
fn a_pool_may_write_its_keys_in_any_order() {
    let mut scene = Scene::start();
    scene.link.send_raw(
        b"{\"params\": [\"1478412275_3922\", \"04000000\", \
          \"0c8331f5a0e29295e30636e8244b5f44474d41d7d1df8208597207ce02000000\", \
          \"bf133dc28cd91698b273510f15ad85eb36af4c3e7b511b1636ba82ee690be76c\", \
          \"0000000000000000000000000000000000000000000000000000000000000000\", \
          \"f3c71e58\", \"3420031d\", true], \"id\": null, \"method\": \"mining.notify\"}\r\n",
    );
    let job = scene.miner.expect_job();
    assert_eq!(job.params.at(5).text(), "f3c71e58");
}

#[test]
fn a_pool_may_send_its_lines_one_byte_at_a_time() {
    let mut scene = Scene::start();
    let params = PoolJob::new("slow").params();
    let line = format!("{{\"id\":null,\"method\":\"mining.notify\",\"params\":{params}}}\n");
    for byte in line.bytes() {
        scene.link.send_raw(&[byte]);
    }
    scene.job = scene.miner.expect_job();
    scene.expect_share_passes(1);
}

#[test]
fn a_pool_may_announce_a_job_before_it_answers_authorize() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let subscribe = miner.send_subscribe();
    let mut link = pool.accept_link();
    link.expect_subscribe();
    link.reply_subscribe(NONCE_1);
    link.set_target(TARGET);
    link.notify(&PoolJob::new("early"));
    link.expect_authorize();
    link.reply_authorize();
    miner.expect_subscribed(subscribe);
    miner.authorize("t1addr.rig1");
    let job = miner.expect_job();
    assert_eq!(job.target.as_deref(), Some(TARGET));
}

#[test]
fn a_miner_that_came_before_the_first_job_gets_it_when_it_comes() {
    let pool = FakePool::start();
    let proxy = Proxy::one_shard(&Config::new(&pool.url()).yaml());
    let mut miner = FakeMiner::connect(&proxy);
    let subscribe = miner.send_subscribe();
    let mut link = pool.accept_link();
    link.welcome(NONCE_1);
    miner.expect_subscribed(subscribe);
    miner.authorize("t1addr.rig1");
    link.notify(&PoolJob::new("late").clean(false));
    let job = miner.expect_job();
    assert_eq!(job.target.as_deref(), Some(TARGET));
    assert!(job.clean, "the first job is always clean");
}

#[test]
fn all_miners_of_a_link_get_the_same_job() {
    let mut scene = Scene::start();
    let mut others: Vec<_> = (2..12)
        .map(|rig| scene.another_miner(&format!("t1addr.rig{rig}")).0)
        .collect();
    let job = scene.announce(&PoolJob::new("2"));
    for other in &mut others {
        let same = other.expect_job();
        assert_eq!(same.params, job.params);
    }
}

#[test]
fn a_new_nonce_of_the_pool_reaches_miners_that_can_take_it_with_the_next_job() {
    let mut scene = Scene::with_extranonce_miner(&[]);
    scene.link.set_extranonce("aabbccdd");
    let job = scene.announce(&PoolJob::new("2").clean(false));
    assert!(job.nonce_1.starts_with("aabbccdd"), "{}", job.nonce_1);
    assert!(job.clean, "some miners ignore a job that is not clean");
    scene.expect_share_passes(1);
}

#[test]
fn set_extranonce_has_one_param_that_is_the_whole_nonce() {
    let mut scene = Scene::with_extranonce_miner(&[]);
    scene.link.set_extranonce("aabbccdd");
    scene.link.notify(&PoolJob::new("2"));
    let notice = scene.miner.expect_notice();
    assert_eq!(notice.get("method").text(), "mining.set_extranonce");
    assert_eq!(notice.get("params").items().len(), 1);
    assert_eq!(notice.get("params").at(0).text().len(), 12);
}

#[test]
fn a_new_nonce_of_the_pool_closes_miners_that_cannot_take_it() {
    let mut scene = Scene::start();
    scene.link.set_extranonce("aabbccdd");
    scene.link.notify(&PoolJob::new("2"));
    scene.miner.expect_closed();
    let (back, _) = scene.another_miner("t1addr.rig1");
    assert!(back.nonce_1.starts_with("aabbccdd"), "{}", back.nonce_1);
}

#[test]
fn notices_that_mean_nothing_to_us_do_no_harm() {
    let mut scene = Scene::start();
    for line in [
        r#"{"id":null,"method":"mining.set_difficulty","params":[1.5]}"#,
        r#"{"id":null,"method":"mining.made_up","params":[]}"#,
        r#"{"id":null,"method":"mining.made_up"}"#,
        r#"{"id":null,"method":"mining.made_up","params":null}"#,
        r#"{"id":10,"method":"pong","params":[]}"#,
        r#"{"id":77,"method":"client.get_version","params":[]}"#,
    ] {
        scene.link.send_line(line);
    }
    let version = scene.link.expect_line();
    assert!(
        version.starts_with(r#"{"id":77,"result":"stratum-uring/"#),
        "{version}"
    );
    scene.announce(&PoolJob::new("2"));
    scene.expect_share_passes(1);
}

/// Newest job wins for a slow reader, and what replaces a clean job is clean.
#[test]
fn a_slow_reader_gets_the_newest_job_and_misses_no_clean_flag() {
    const CLEAN: u32 = 15_000;
    const LAST: u32 = 20_000;
    let mut scene = Scene::start();
    let (mut slow, _) = scene.another_miner("t1addr.slow");
    for number in 0..=LAST {
        let mut job = PoolJob::new("flood").clean(number == CLEAN);
        job.merkle = format!("{number:064x}");
        scene.link.notify(&job);
        if number == LAST {
            while scene.miner.expect_job().params.at(3).text() != job.merkle {}
        }
    }
    // Only now does it read. Each line is whole, or reading it fails.
    let mut was_told = false;
    loop {
        let job = slow.expect_job();
        let number = u32::from_str_radix(job.params.at(3).text(), 16).unwrap();
        if number >= CLEAN && !was_told {
            assert!(job.clean, "job {number} hides the clean job {CLEAN}");
            was_told = true;
        }
        if number == LAST {
            break;
        }
    }
}
