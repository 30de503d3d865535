//! Packets on the wire: sent into namespaces, and captured on every interface of every namespace.

pub mod capture;
pub mod inject;
pub mod matrix;
pub mod pair;
mod ring;
mod socket;
pub mod steady;
pub mod together;
pub mod waves;

pub use socket::{open as open_socket, option, set_option};
