//! Children that end when this process does, however it ends.
//!
//! Who is killed, or panics and aborts, has no time to end its children. So they are started through
//! `loadgen tied PID PROGRAM …`, which asks the kernel for a SIGKILL when its parent ends and then becomes
//! that program. The process id stays the same.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// What stands between our own name and the command that is tied to this process.
pub(crate) fn words() -> [OsString; 2] {
    ["tied".into(), std::process::id().to_string().into()]
}

/// Ties this process to its parent, which must be the one of this id, and becomes the program.
///
/// # Errors
///
/// A text, when that can't be.
pub(crate) fn become_program(parent: u32, command: &[OsString]) -> String {
    let [program, arguments @ ..] = command else {
        return "there is no program to become".to_owned();
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("cannot tie {}: {error}", program.display());
    }
    // A parent that ended before has nobody left to be told of.
    let parent = i32::try_from(parent).ok().and_then(Pid::from_raw);
    if parent.is_none() || getppid() != parent {
        return "its parent is gone".to_owned();
    }
    let error = Command::new(program).args(arguments).exec();
    format!("cannot start {}: {error}", program.display())
}
