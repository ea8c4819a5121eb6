//! Other people's programs that the tests use: curl, swaks, Python, openssl. `tests/run` installs them.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Said {
    /// Panics unless the program ended well; returns what it said.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out
    }

    /// Panics unless the program failed; returns what it complained.
    #[track_caller]
    pub(crate) fn badly(self) -> String {
        assert_ne!(self.code, 0, "{self:#?}");
        format!("{}{}", self.out, self.err)
    }
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) -> Said {
    run_with_input(program, arguments, "")
}

/// Runs a program that reads `input`.
#[track_caller]
pub(crate) fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Said {
    run_command(Command::new(program).args(arguments), input)
}

/// Runs a command that reads `input`.
#[track_caller]
pub(crate) fn run_command(command: &mut Command, input: &str) -> Said {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| {
        panic!("{command:?} cannot be started ({error}); tests/run installs what the tests need")
    });
    // A program that does not care for its input may be gone already.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    said(&child.wait_with_output().unwrap())
}

fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A password's hash as it stands in a passwd-file.
pub(crate) fn hash(password: &str) -> String {
    format!("{{SHA512-CRYPT}}{}", run("openssl", &["passwd", "-6", password]).well().trim())
}

/// A script for Python 3, with its arguments.
#[track_caller]
pub(crate) fn python(script: &str, arguments: &[&str]) -> Said {
    let mut all = vec!["-c", script];
    all.extend(arguments);
    run("python3", &all)
}
