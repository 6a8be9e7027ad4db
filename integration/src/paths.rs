//! Where things are: the target directory, the databases' programs, scratch space, free ports.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use crate::keeper;

/// What installs the databases' programs on Debian.
pub const INSTALL: &str = "apt-get install -y postgresql";

/// The directory cargo builds into, found from the program that runs: `<target>/<profile>[/deps]/<program>`.
pub fn target() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut dirs = program.ancestors().skip(1).skip_while(|dir| dir.ends_with("deps"));
    dirs.nth(1).expect("cargo builds into a directory of the profile").to_path_buf()
}

/// The proxy's binary: `SPLITPOOL_BIN`, or the release build, or the debug build.
///
/// # Panics
/// When there is none, with the line that builds it.
pub fn splitpool() -> PathBuf {
    if let Some(path) = std::env::var_os("SPLITPOOL_BIN") {
        return path.into();
    }
    let mut places = ["release", "debug"].map(|profile| target().join(profile).join("splitpool")).into_iter();
    places.find(|path| path.exists()).expect("no splitpool binary: cargo build --release")
}

/// A program of PostgreSQL's newest installation, or one in PATH.
///
/// # Panics
/// When there is none, with the line that installs it.
pub fn postgres_program(name: &str) -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name)))
        })
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    found
        .pop()
        .map(|(_, path)| path)
        .or_else(|| in_path(name))
        .unwrap_or_else(|| panic!("no {name}: {INSTALL}"))
}

/// A program in PATH, or where Debian keeps those of the system.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| path.exists())
}

/// The account that databases run under: they refuse root. None: the one we run under.
///
/// # Panics
/// When we are root and the account `postgres` is missing, with the line that makes it.
pub fn account() -> Option<(u32, u32)> {
    static ACCOUNT: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *ACCOUNT.get_or_init(|| {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let id = |flag: &str| -> Option<u32> {
            let out = Command::new("id").args([flag, "postgres"]).output().ok()?;
            String::from_utf8(out.stdout).ok()?.trim().parse().ok()
        };
        let account = id("-u").zip(id("-g"));
        assert!(account.is_some(), "no account postgres: {INSTALL}");
        account
    })
}

/// Gives a tree to the account that databases run under.
pub fn hand_over(path: &Path) {
    let Some((user, group)) = account() else { return };
    chown(path, Some(user), Some(group)).expect("root may give files away");
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            hand_over(&entry.path());
        } else {
            chown(entry.path(), Some(user), Some(group)).expect("root may give files away");
        }
    }
}

/// Whether others may pass through every directory down to this one.
fn is_traversable(path: &Path) -> bool {
    path.ancestors().filter_map(|dir| fs::metadata(dir).ok()).all(|meta| meta.mode() & 0o001 != 0)
}

/// A directory under the target directory, or under the system's for temporary files where the databases'
/// account could not reach it.
pub fn shared_dir(name: &str) -> PathBuf {
    let target = target();
    let target = fs::canonicalize(&target).unwrap_or(target);
    let base = if account().is_none() || is_traversable(&target) {
        target.join("integration")
    } else {
        std::env::temp_dir().join("splitpool-integration")
    };
    let dir = base.join(name);
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    dir
}

/// A new directory that is removed with this value, or with the process.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one; `name` only helps a reader.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let base = shared_dir("");
        let path = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("splitpool-run-{}-{number}-{name}", std::process::id()));
            // What an earlier process with this id has left is not ours.
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own directory");
        keeper::keep_dir(&path);
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The keeper tries again if a process still writes into it.
        if std::env::var_os("SPLITPOOL_KEEP").is_some() || fs::remove_dir_all(&self.0).is_ok() {
            keeper::forget_dir(&self.0);
        }
    }
}

/// A loopback port for a server or a proxy of this process, or for nobody. Until this process ends no other is given
/// it, nor is an outgoing connection, also while whoever listens there is down.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    // Below those that the system gives to outgoing connections.
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes begin at different places, so that two of them seldom try the same.
    let begin = std::process::id().wrapping_mul(7919);
    (0..COUNT)
        .map(|_| FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| reserve(*port).is_ok())
        .expect("loopback has a free port")
}

/// Takes a port with a socket that never listens, for as long as this process lives. It is bound as one that shares with
/// nobody, which fails if anybody has the port; from then on it shares, as every server's own socket does.
fn reserve(port: u16) -> rustix::io::Result<()> {
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    std::mem::forget(socket);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_port_is_kept_and_can_be_listened_on() {
        let port = free_port();
        assert!(reserve(port).is_err(), "it is given to another");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "somebody listens");
        for _ in 0..2 {
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("it shares with a server");
            assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "two servers have it");
            TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
            drop(listener);
            assert!(reserve(port).is_err(), "it is free while the server is down");
        }
    }
}
