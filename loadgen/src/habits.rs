//! How miners differ, as firmware does: whether they wait for answers, in which order they ask, how
//! they write their ids.

/// How one kind of miner talks.
#[derive(Debug)]
pub(crate) struct Habits {
    pub(crate) agent: &'static str,
    /// Ids are strings, else numbers.
    pub(crate) string_ids: bool,
    /// Asks everything at once, as much ASIC firmware does.
    pub(crate) pipelines: bool,
    /// Asks for new nonces; some do so before they authorize.
    pub(crate) extranonce: Option<When>,
    /// lolMiner's order: host and port before the session.
    pub(crate) host_first: bool,
    /// Asks for version bits to roll, where it mines Bitcoin.
    pub(crate) rolls_version: bool,
    /// Sends `keepalived`, where it mines Monero.
    pub(crate) keeps_alive: bool,
    /// The ids of each connection begin with 1, as those of real firmware do. With the others an answer
    /// that went astray is known by its id.
    pub(crate) ids_begin_anew: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    BeforeAuthorize,
    AfterAuthorize,
}

const KINDS: [Habits; 4] = [
    Habits {
        agent: "loadgen-waits/1",
        string_ids: false,
        pipelines: false,
        extranonce: Some(When::AfterAuthorize),
        host_first: false,
        rolls_version: true,
        keeps_alive: true,
        ids_begin_anew: false,
    },
    Habits {
        agent: "loadgen-pipelines/1",
        string_ids: false,
        pipelines: true,
        extranonce: None,
        host_first: false,
        rolls_version: false,
        keeps_alive: false,
        ids_begin_anew: false,
    },
    Habits {
        agent: "loadgen-strings/1",
        string_ids: true,
        pipelines: false,
        extranonce: Some(When::BeforeAuthorize),
        host_first: true,
        rolls_version: false,
        keeps_alive: false,
        ids_begin_anew: false,
    },
    Habits {
        agent: "loadgen-pipelined-strings/1",
        string_ids: true,
        pipelines: true,
        extranonce: Some(When::AfterAuthorize),
        host_first: true,
        rolls_version: true,
        keeps_alive: true,
        ids_begin_anew: false,
    },
];

impl Habits {
    /// Of all miners, where the server is a relay that rewrites nothing: it knows a subscribe by the id
    /// 1, an authorize by 2, and whose a share is by its id, which no other share of the farm has.
    pub(crate) const ALIKE: Self = Self {
        agent: "loadgen-alike/1",
        string_ids: false,
        pipelines: false,
        extranonce: None,
        host_first: false,
        rolls_version: false,
        keeps_alive: false,
        ids_begin_anew: true,
    };

    /// Those of the miner of this number, so that all kinds are present.
    pub(crate) fn of(number: u32) -> &'static Self {
        &KINDS[number as usize % KINDS.len()]
    }
}
