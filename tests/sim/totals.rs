//! What happened in all seeds together, so that a change of the models can't make the simulation blind.

macro_rules! totals {
    ($($name:ident,)+) => {
        /// How often each interesting thing happened.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Totals { $(pub(crate) $name: u64,)+ }

        impl Totals {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// # Panics
            ///
            /// Where something never happened.
            pub(crate) fn assert_that_nothing_was_missed(&self) {
                $(assert!(self.$name > 0, concat!(stringify!($name), " never happened"));)+
            }
        }
    };
}

totals! {
    steps,
    connects,
    submits,
    shares_at_pools,
    accepted,
    rejected_by_pools,
    refused_here,
    jobs,
    first_jobs,
    clean_jobs,
    jobs_replaced,
    clean_made_up_for,
    links_up,
    resumes,
    links_lost,
    pools_changed,
    spares_up,
    takeovers,
    returns,
    told_to_return,
    closed_to_return,
    returns_failed,
    no_room_to_return,
    dials_refused,
    handshakes_refused,
    handshake_timeouts,
    moves,
    told_to_move,
    closed_to_move,
    extranonce_sent,
    spaces_taken,
    spaces_shared,
    shares_lost,
    shares_resent,
    warm_begins,
    warm_ends,
    kept_warm,
    taken_at_once,
    immediate_rejected,
    immediate_lost,
    resent_duplicates,
    pool_silent,
    blocked,
    blocked_twice,
    outbox_full,
    blocked_too_long,
    full,
    no_pool,
    subscribe_timeouts,
    authorize_timeouts,
    violations,
    duplicates,
    unknown_jobs,
    unauthorized,
    not_subscribed,
    malformed,
    too_many_unanswered,
    unrested_slots,
    second_links,
    partial_writes,
    jobs_heard_elsewhere,
    shards_in_one_space,
    takeovers_by_lease,
    hosts_followed,
    early_heard,
    early_brought_back,
    early_confirmed,
    early_missed,
    shares_held,
    shares_never_confirmed,
    letters_job_heard,
    letters_standing,
    letters_pool_bad,
    letters_borrow,
    letters_shares,
    letters_more_slots,
    letters_fewer_slots,
    letters_give_back,
    letters_lent,
    letters_declined,
    letters_job,
    letters_target,
    letters_slots,
    letters_answers,
    letters_paused,
    letters_resumed,
    letters_retiring,
    letters_ended,
    unexpected_answers,
    pool_faults,
    reconnects_obeyed,
    reconnects_refused,
    forged_replies,
    unused_links,
    silent_pools,
    disconnects_in_flight,
    answered_at_shutdown,
}
