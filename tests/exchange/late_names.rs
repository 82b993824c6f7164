//! Shares under names for which their pool answers late, or never; and who waits for such a name.

use crate::names::{Hall, YES, come_back, names_of};

fn refused(hall: &Hall) -> u64 {
    let counters = hall.scene.exchange.counters();
    counters.refused_by_reason().map(|(_, count)| count).sum()
}

#[test]
fn a_late_yes_saves_the_shares_that_wait_beside_those_of_other_names() {
    let mut hall = come_back(258, |_| true);
    let asked = hall.heard();
    assert_eq!(asked.len(), 256);
    // The pool passes most of them over.
    hall.tick(4);
    let (late, first) = asked.split_at(254);
    for (id, _, _) in first {
        hall.pool_answers(*id, YES);
    }
    let last = hall.heard();
    assert_eq!(last.len(), 2);
    hall.tick(2);
    for (id, _, _) in late {
        hall.pool_answers(*id, YES);
    }
    assert_eq!(hall.heard(), []);
    for (id, _, _) in last {
        hall.pool_answers(id, YES);
    }
    let sent = names_of(&hall.heard(), "mining.submit").len();
    assert_eq!((sent, refused(&hall)), (258, 0));
}
