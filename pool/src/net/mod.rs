//! Sockets: where an endpoint is, how it is reached, and TLS on both sides.
//!
//! Knows addresses and byte streams, nothing of a protocol: who asks for TLS and when
//! is the protocol's business, this module only shakes hands once that is agreed.

mod address;
mod coded;
mod stream;
mod tls;

pub use address::{Address, AddressError};
pub use stream::{KeepAlive, Stream, TlsLink, connect, tune};
pub use tls::{
    BackendTls, NetError, ServerTls, TlsMode, accept_direct_tls, accept_tls, backend_tls, server_tls,
};
