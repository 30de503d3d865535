//! Why there is no TUN: the module, its device file, or the right to open it.

use std::fs;

use crate::error::Error;

/// What is wrong in `error`, which came of making a TUN device, and what would cure it if it is not the module.
pub(super) fn reason(error: &Error) -> String {
    match error.errno() {
        Some(libc::ENOENT) if driver_is_there() => {
            "there is no /dev/net/tun, though the kernel has the driver".to_owned()
        }
        Some(libc::ENOENT) => "there is no /dev/net/tun".to_owned(),
        Some(libc::ENODEV | libc::ENXIO) => "/dev/net/tun has no driver".to_owned(),
        _ => error.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// Makes the device file where it alone is missing; in a container it is given from outside.
pub(super) fn cure() -> Option<String> {
    let node_missing = driver_is_there() && !std::path::Path::new("/dev/net/tun").exists();
    let make = "`mkdir -p /dev/net && mknod /dev/net/tun c 10 200`; in a container start it with --device /dev/net/tun";
    node_missing.then(|| make.to_owned())
}

fn driver_is_there() -> bool {
    let list = fs::read_to_string("/proc/misc").unwrap_or_default();
    list.lines().any(|line| line.split_whitespace().nth(1) == Some("tun"))
}
