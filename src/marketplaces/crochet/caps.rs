//! The owner's limits for what is not a dollar.

use super::requirement::Requirement;
use crate::error::{Code, Error};

/// What is not a dollar is paid only below the owner's cap for it.
pub(super) fn within_cap(
    asset: &str,
    requirement: &Requirement,
    cap: Option<&String>,
) -> Result<(), Error> {
    let denied = |what: String| Error::new(Code::PolicyDenied, what);
    let Some(cap) = cap else {
        return Err(denied(format!("the owner has set no limit for paying in {asset}")));
    };
    let decimals = match asset {
        "SOL" => 9,
        "ETH" => 18,
        _ => return Err(denied(format!("how {asset} is counted is not known"))),
    };
    let asked = requirement.amount.as_deref().and_then(|a| a.parse::<u128>().ok());
    let asked = asked.ok_or_else(|| {
        Error::new(Code::TermsMismatch, format!("Crochet asks for {asset} without an amount"))
    })?;
    let limit = atomic(cap, decimals)
        .ok_or_else(|| denied(format!("the owner's limit for {asset} cannot be read: {cap}")))?;
    if asked > limit {
        return Err(denied(format!(
            "{asked} of the smallest unit of {asset} are above the owner's {cap} {asset}"
        )));
    }
    Ok(())
}

/// A decimal amount in its smallest unit.
fn atomic(text: &str, decimals: usize) -> Option<u128> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    if places.len() > decimals || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    format!("{whole}{places:0<decimals$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_in_the_smallest_unit() {
        assert_eq!(atomic("0.05", 9), Some(50_000_000));
        assert_eq!(atomic("1", 9), Some(1_000_000_000));
        assert_eq!(atomic("0.0000000001", 9), None);
        assert_eq!(atomic("-1", 9), None);
        assert_eq!(atomic("1e3", 9), None);
    }
}
