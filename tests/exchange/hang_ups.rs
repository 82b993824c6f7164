//! Pools that answer a name by closing the connection: who pays for that, and that it is found out.

use std::time::Duration;

use stratum_uring::exchange::LinkEnd;
use stratum_uring::proto::share::Reject;

use crate::names::YES;
use crate::newcomers::{Does, Pace, Rigs};

/// A hall of a hundred rigs that mine.
fn hall() -> Rigs {
    let mut rigs = Rigs::new(Pace::After(Duration::from_millis(50)));
    rigs.come_all(1..101, 8);
    rigs.pass(5, |_| Does::Answers(YES));
    assert_eq!(rigs.mining.len(), 100);
    rigs
}

#[test]
fn a_known_name_at_which_the_pool_hangs_up_costs_its_address_nothing() {
    let mut rigs = hall();
    rigs.come(500, 7, "was good");
    rigs.pass(2, |_| Does::Answers(YES));
    rigs.leave(500);
    rigs.pass(2, |_| Does::Answers(YES));
    let hangs_up = |name: &str| match name {
        "was good" => Does::HangsUp,
        _ => Does::Answers(YES),
    };
    rigs.come(500, 7, "was good");
    rigs.pass(30, hangs_up);
    assert!((3..=4).contains(&rigs.ends), "{}", rigs.ends);
    assert!(rigs.refused(Reject::NameUnanswered) > 0);
    rigs.come(501, 7, "rig501");
    rigs.pass(5, hangs_up);
    assert!(rigs.mining.contains_key(&501));
    assert_eq!(rigs.refused(Reject::TooManyDenied), 0);
}

#[test]
fn a_name_at_which_the_pool_hangs_up_is_found_and_paid_for_also_later_and_beside_others() {
    for (after, is_beside_quiet_ones) in [(0, true), (8, false), (8, true)] {
        let hangs_up = |name: &str| match name {
            "bad" | "worse" => Does::HangsUpLater(Duration::from_secs(after)),
            "quiet" => Does::Nothing,
            _ => Does::Answers(YES),
        };
        let mut rigs = hall();
        rigs.reconnect = true;
        rigs.come(500, 7, "bad");
        if is_beside_quiet_ones {
            rigs.come(600, 9, "quiet");
        }
        // Others come all the time, and the pool answers for them.
        for number in 0..60 {
            rigs.come(1000 + number, 8, &format!("rig{}", 1000 + number));
            rigs.pass(2, hangs_up);
        }
        assert_eq!(rigs.mining.len(), 160);
        assert!((3..=5).contains(&rigs.ends), "{}", rigs.ends);
        rigs.come(501, 7, "worse");
        rigs.pass(10, hangs_up);
        assert_eq!(rigs.asked.get("worse"), None);
        assert!(rigs.refused(Reject::TooManyDenied) > 0);
        let ends = rigs.ends_as(LinkEnd::Reset);
        assert_eq!(ends, u64::from(rigs.ends));
    }
}
