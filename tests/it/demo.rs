//! `haggle demo`, as a newcomer runs it.

use std::process::Command;

/// With nothing in the environment it buys, recovers and ends with an audit that agrees.
#[test]
fn the_demo_ends_with_an_audit_that_agrees() {
    let output = Command::new(env!("CARGO_BIN_EXE_haggle")).arg("demo").env_clear().output();
    let output = output.unwrap();
    let (told, complained) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{told}{complained}");
    assert_eq!(complained, "");
    let last = told.trim_end().lines().last().unwrap();
    assert_eq!(
        last,
        "Audit: the sandbox charged 4.66 USD in 6 payments; the journal says 4.66 USD in 6: they \
         agree."
    );
    for expected in [
        "not_registered",
        "price_changed",
        "payment_unknown",
        "money moved: maybe",
        "of the deposit of 0.40 USD the seller has 0.06 USD, and the agent 0.34 USD again",
        "approval_required",
        "$ haggle approve ask_",
        "to the payment of 3.50 USD",
        "it went out 2 times, under 1 key",
    ] {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
}
