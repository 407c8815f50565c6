//! Colour and progress: for a person on a terminal, and for nobody else.

use std::net::TcpListener;

use crate::{commands::Home, terminal::Terminal};

/// The commands that have something to colour or to wait for.
const COMMANDS: [&[&str]; 4] = [
    &["doctor", "--sandbox"],
    &["purchases", "resolve", "--sandbox"],
    &["config", "install", "cursor", "--dry-run"],
    &["doctor", "--sandbox", "--json"],
];

/// The sequences that colour: `ESC [ … m`.
fn colours(text: &str) -> usize {
    text.split("\u{1b}[")
        .skip(1)
        .filter(|rest| {
            rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
        })
        .count()
}

fn shown(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = home.command(arguments);
    command.env("TERM", "xterm-256color").envs(variables.iter().copied());
    Terminal::start(command).end().1
}

#[test]
fn what_is_piped_has_no_escape_byte() {
    for arguments in COMMANDS {
        for forced in [&[][..], &[("CLICOLOR_FORCE", "1"), ("TERM", "xterm-256color")]] {
            let mut command = Home::new().command(arguments);
            let output = command.envs(forced.iter().copied()).output().unwrap();
            let all = [output.stdout, output.stderr].concat();
            assert!(!all.is_empty(), "{arguments:?}");
            let all = String::from_utf8(all).unwrap();
            assert!(!all.contains('\u{1b}') && !all.contains('\r'), "{arguments:?}: {all:?}");
        }
    }
}

/// What it shows, the arguments, the environment, and whether there is colour.
type Row<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], bool);

#[test]
fn a_terminal_has_colour_unless_it_is_unwanted() {
    let home = Home::new();
    #[rustfmt::skip]
    let rows: [Row<'_>; 8] = [
        // what it shows       arguments      environment              coloured
        ("findings",           COMMANDS[0],   &[],                     true),
        ("a difference",       COMMANDS[2],   &[],                     true),
        ("JSON",               COMMANDS[3],   &[],                     false),
        ("NO_COLOR",           COMMANDS[0],   &[("NO_COLOR", "1")],    false),
        ("CLICOLOR=0",         COMMANDS[0],   &[("CLICOLOR", "0")],    false),
        ("a dumb terminal",    COMMANDS[0],   &[("TERM", "dumb")],     false),
        ("NO_COLOR, again",    COMMANDS[2],   &[("NO_COLOR", "1")],    false),
        ("a dumb one, again",  COMMANDS[2],   &[("TERM", "dumb")],     false),
    ];
    for (row, arguments, variables, coloured) in rows {
        let shown = shown(&home, arguments, variables);
        assert_eq!(colours(&shown) > 0, coloured, "{row}: {shown:?}");
        if variables.contains(&("TERM", "dumb")) {
            assert!(!shown.contains('\u{1b}'), "{row}: {shown:?}");
        }
    }
}

/// The demo shows what it waits for and cleans up after it; without colour the words are the same.
#[test]
fn the_demo_is_coloured_on_a_terminal_and_says_the_same() {
    let home = Home::new();
    let shown = shown(&home, &["demo"], &[]);
    assert!(shown.contains("\u{1b}[1m1. Search\u{1b}[0m"), "{shown:?}");
    assert!(shown.contains("\u{1b}[32mAudit: the sandbox charged 4.66 USD"), "{shown:?}");
    assert!(shown.contains("market_wait_events, 0 s"), "the wait is not shown: {shown:?}");
}

/// A node that does not answer is named while it is waited for, and the line is gone afterwards.
#[test]
fn what_is_waited_for_is_shown() {
    let home = Home::new();
    let node = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", node.local_addr().unwrap());
    let mut command = home.command(&["doctor", "--marketplaces", "crochet"]);
    command.env("TERM", "xterm-256color").env("BASE_RPC_URL", &url).env("CROCHET_API_URL", &url);
    let mut terminal = Terminal::start(command);
    terminal.until("asking the chain's node, 1 s");
    drop(node);
    let (status, shown) = terminal.end();
    assert_eq!(status.code(), Some(1), "{shown}");
    let (_, after) = shown.rsplit_once("\u{1b}[2K").unwrap();
    assert!(after.contains("Something is broken.") && !after.contains("asking"), "{shown:?}");
}

/// A server that a person starts by hand says whom it waits for.
#[test]
fn a_server_on_a_terminal_says_what_it_is() {
    let home = Home::new();
    let mut terminal = Terminal::start(home.command(&[]));
    terminal.until("haggle config install CLIENT");
    // The end of the input.
    terminal.type_in("\u{4}");
    let (status, shown) = terminal.end();
    assert!(status.success(), "{shown}");
    let piped = home.run(&[]);
    assert_eq!((piped.stdout, piped.stderr), (Vec::new(), Vec::new()));
}
