//! Colour for people: whether there is any is decided here alone.
//!
//! Only a terminal gets it, and not where `NO_COLOR`, `CLICOLOR=0` or `TERM=dumb` say otherwise;
//! `anstream` reads those. What programs read is never coloured.

use std::{fmt::Write as _, io::IsTerminal};

use anstream::{AutoStream, ColorChoice, stream::RawStream};
use anstyle::{AnsiColor, Style};

use super::output::harmless;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing special.
    Plain,
    /// What the eye should find first.
    Strong,
    /// What can be passed over.
    Faint,
    /// What is done, or what one can do.
    Action,
    /// It is as it should be.
    Good,
    /// It wants attention.
    Note,
    /// It is wrong.
    Bad,
}

impl Look {
    const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Action => AnsiColor::Cyan.on_default(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Note => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        }
    }
}

/// Whether this stream shows colours.
#[must_use]
pub fn shows_colour(stream: &(impl RawStream + IsTerminal)) -> bool {
    IsTerminal::is_terminal(stream) && AutoStream::choice(stream) != ColorChoice::Never
}

/// Text for standard output, put together piece by piece.
#[derive(Debug)]
pub struct Painted {
    text: String,
    colour: bool,
}

impl Default for Painted {
    fn default() -> Self {
        Self::new()
    }
}

impl Painted {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { text: String::new(), colour: shows_colour(&std::io::stdout()) }
    }

    /// With a piece of text; what would act on a terminal in it is written out.
    pub fn put(&mut self, look: Look, text: &str) {
        let text = harmless(text);
        if !self.colour || look == Look::Plain || text.is_empty() {
            self.text.push_str(&text);
            return;
        }
        // The colour ends before the line does, so that nothing runs on into the next.
        let (lines, end) = text.strip_suffix('\n').map_or((text.as_str(), ""), |t| (t, "\n"));
        let style = look.style();
        let _ = write!(self.text, "{style}{lines}{style:#}{end}");
    }

    /// With a line of its own.
    pub fn line(&mut self, look: Look, text: &str) {
        self.put(look, text);
        self.text.push('\n');
    }

    /// The whole.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_coloured_as_a_whole_and_cannot_colour_itself() {
        #[rustfmt::skip]
        let rows = [
            // what it shows        colour  look         text              painted
            ("plain",               true,   Look::Plain, "a",              "a"),
            ("green",               true,   Look::Good,  "a",              "\u{1b}[32ma\u{1b}[0m"),
            ("a line",              true,   Look::Bad,   "a\n",            "\u{1b}[31ma\u{1b}[0m\n"),
            ("without colour",      false,  Look::Bad,   "a\n",            "a\n"),
            ("its own escapes",     true,   Look::Plain, "\u{1b}[31ma",    "\\u001b[31ma"),
        ];
        for (row, colour, look, text, expected) in rows {
            let mut painted = Painted { text: String::new(), colour };
            painted.put(look, text);
            assert_eq!(painted.text, expected, "{row}");
        }
    }
}
