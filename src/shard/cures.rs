//! What is wrong with a connection that we ended, and what mends it, for the log.

use crate::exchange::CloseReason;
use crate::metrics::DoorEnd;

/// Of one that ended as a miner's. None where nobody has to do anything, or something else is told.
pub(super) const fn of_close(end: CloseReason) -> Option<&'static str> {
    Some(match end {
        CloseReason::Closed
        | CloseReason::Reset
        | CloseReason::Idle
        | CloseReason::Shutdown
        | CloseReason::Full
        | CloseReason::NoPool
        | CloseReason::Moved
        | CloseReason::NetworkDenied
        | CloseReason::TooManyFaults
        | CloseReason::Tls => return None,
        CloseReason::LineTooLong => {
            "it sent a line of more than limits.miner_line_bytes_max bytes, which no miner needs; if this \
             one does, raise it"
        }
        CloseReason::Violation => {
            "it sent more than limits.protocol_errors_max lines that can't be read; it may speak another \
             dialect than this proxy's"
        }
        CloseReason::OutboxFull => {
            "more than limits.miner_outbox_bytes_max bytes waited for it (16 KiB while its subscribe waits \
             for a pool): it asks and does not read, or its network is too slow"
        }
        CloseReason::Unread => {
            "more than this shard's part of limits.unread_bytes_max waited for its miners that do not read, \
             and most of it for ones like this: a network is down, or somebody wants to fill the memory"
        }
        CloseReason::Blocked => {
            "it took no byte of what waits for it for limits.miner_blocked_seconds: it hangs, or its network \
             is down"
        }
        CloseReason::SubscribeTimeout => {
            "it did not subscribe within limits.subscribe_timeout_seconds: it is no miner, or speaks another \
             dialect than this proxy's"
        }
        CloseReason::AuthorizeTimeout => {
            "it subscribed and was authorized as no worker within limits.authorize_timeout_seconds; if it \
             did try, the log says why its worker may not mine"
        }
        CloseReason::Denied => {
            "its workers were refused more than limits.protocol_errors_max times, or the pool denies the one \
             that it had; the log says why a worker may not mine"
        }
        CloseReason::KeptOut => {
            "too many shares of its worker were wrong, and it is kept out at this address until \
             limits.rejected_ban_seconds are over"
        }
        CloseReason::TooManyMessages => {
            "it sent more than limits.messages_per_second_max lines a second; raise that, if it is an honest \
             proxy with many workers"
        }
    })
}

/// Of one that ended in the door. None for what comes and goes every day.
pub(super) const fn of_door(end: DoorEnd) -> Option<&'static str> {
    Some(match end {
        DoorEnd::Left | DoorEnd::FirstByteTimeout => return None,
        DoorEnd::Denied => "its address may not be here, as `allow` and `deny` of the listener say",
        DoorEnd::ProxyFull => {
            "the proxy has as many connections as limits.connections_max allows; raise it, if the machine \
             has room for more"
        }
        DoorEnd::ListenerFull => {
            "the listener has as many connections as its connections_max allows; raise it, or send miners \
             elsewhere"
        }
        DoorEnd::AddressFull => {
            "its address has as many connections as limits.connections_per_address_max allows; raise it, \
             if many miners are behind one address"
        }
        DoorEnd::HeaderMissing => {
            "no header of the PROXY protocol, which this address is trusted to send; let the load balancer \
             send one (send-proxy-v2), or take the address out of proxy_protocol.trusted"
        }
        DoorEnd::HeaderInvalid => {
            "its header of the PROXY protocol is malformed, longer than 536 bytes or with a wrong checksum"
        }
        DoorEnd::HeaderTimeout => {
            "no whole header of the PROXY protocol came in time, and this address is trusted to send one"
        }
        DoorEnd::HeaderUntrusted => {
            "a header of the PROXY protocol from an address that is not in proxy_protocol.trusted; add it \
             there, if it is your load balancer's"
        }
        DoorEnd::TlsOnPlain => {
            "a TLS hello on a plain port; give the listener `tls:`, with `mode: auto` for miners of both \
             kinds, or let the miner use stratum+tcp in place of stratum+ssl"
        }
        DoorEnd::PlainOnTls => {
            "a miner without TLS on a listener with `tls:`; let it use stratum+ssl, or set `mode: auto`"
        }
        DoorEnd::Http => {
            "an HTTP request; the metrics have a port of their own (admin.listen), and what else asks is \
             a browser or a scanner"
        }
        DoorEnd::ProxyHeader => {
            "a header of the PROXY protocol, which nobody expects here; take send-proxy out of the load \
             balancer"
        }
        DoorEnd::Ssh => "an SSH client; it is at the wrong port, or a scanner",
        DoorEnd::Binary => "binary bytes, which no miner sends; another protocol, or a scanner",
    })
}
