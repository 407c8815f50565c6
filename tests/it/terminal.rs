//! The built program under a pseudo-terminal, as a person has it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus},
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

/// A program on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    ours: File,
    shown: Vec<u8>,
}

impl Terminal {
    pub(crate) fn start(mut command: Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = File::from(rustix::fs::open(&name, flags, Mode::empty()).unwrap());
        command.stdin(theirs.try_clone().unwrap());
        command.stdout(theirs.try_clone().unwrap()).stderr(theirs);
        // The command's own ends go with it, so that the last of the program's ends the reading.
        let child = command.spawn().unwrap();
        Self { child, ours: File::from(ours), shown: Vec::new() }
    }

    /// Reads on until this was shown.
    pub(crate) fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.shown).contains(text) {
            assert!(self.read(), "{text} was not shown");
        }
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).unwrap();
    }

    /// Its end, and all that the terminal was sent.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        while self.read() {}
        (self.child.wait().unwrap(), String::from_utf8(self.shown).unwrap())
    }

    /// Whether there was more. Linux reports the other end's closing as an error, others as the end.
    fn read(&mut self) -> bool {
        let mut some = [0; 4096];
        let read = self.ours.read(&mut some).unwrap_or(0);
        self.shown.extend_from_slice(&some[..read]);
        read > 0
    }
}
