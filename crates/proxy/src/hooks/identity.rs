//! What a request is called, and who sent it.

use std::net::IpAddr;

use http::HeaderValue;
use pingora_proxy::Session;

use super::Proxy;
use crate::ctx::Ctx;
use crate::headers;

impl Proxy {
    /// The client's own id of the request, or a new one: the process and the place in it.
    pub(super) fn request_id(&self, session: &Session, ctx: &Ctx) -> HeaderValue {
        if let Some(id) = headers::request_id(session.req_header()) {
            return id.clone();
        }
        let mut id = [b'-'; 33];
        let (process, place) = id.split_at_mut(17);
        write_hex(process.get_mut(..16).unwrap_or_default(), self.process);
        write_hex(place, ctx.sequence);
        HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("-"))
    }
}

/// Writes a number in hexadecimal, with zeros in front.
fn write_hex(out: &mut [u8], number: u64) {
    let mut left = number;
    for digit in out.iter_mut().rev() {
        let nibble = u8::try_from(left & 15).unwrap_or_default();
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        left >>= 4;
    }
}

/// The address of the client: the peer, or whom a believed peer names.
pub(super) fn client_of(session: &Session, ctx: &Ctx) -> Option<IpAddr> {
    let peer = peer_of(session)?;
    let policy = &ctx.world.snapshot.policy;
    if !policy.trusts(peer) {
        return Some(peer);
    }
    let chain = session.req_header().headers.get("x-forwarded-for").and_then(|it| it.to_str().ok());
    let mut named = chain.unwrap_or_default().rsplit(',').map_while(|it| it.trim().parse().ok());
    Some(named.find(|it| !policy.trusts(*it)).unwrap_or(peer))
}

/// The address of whoever holds the connection.
pub(super) fn peer_of(session: &Session) -> Option<IpAddr> {
    session.client_addr().and_then(|it| it.as_inet()).map(std::net::SocketAddr::ip)
}
