//! What goes wrong in a class, in the user's words.

use std::net::{IpAddr, SocketAddr};

use cadet_class::ClassError;
use cadet_class::addresses::{self, Own};
use cadet_class::error::Silence;
use cadet_class::mirror::MirrorError;

use crate::error::CliError;
use crate::machine;

impl From<ClassError> for CliError {
    fn from(e: ClassError) -> Self {
        let text = e.to_string();
        match e {
            ClassError::Code(why) => CliError::new("PROGRAM_USAGE", "this is no join code")
                .why(why)
                .fix("cadet class join CODE      as the teacher's screen shows it"),
            ClassError::Checkup(why) => CliError::new(
                "PROGRAM_USAGE",
                "this is no code of cadet doctor --class",
            )
            .why(why)
            .fix("cadet doctor --class=CODE      as the learner reads it out"),
            ClassError::Key { .. } => {
                CliError::new("HOST_STATE_CORRUPT", "a key of the class cannot be used")
                    .why(text)
                    .fix("cadet class join CODE      makes a new one for a learner\ncadet class serve --new    for the teacher")
            }
            ClassError::Tls(_) => {
                CliError::new("PROGRAM_INTERNAL", "encryption cannot be set up").why(text)
            }
            ClassError::Silent {
                address,
                silence,
                why,
            } => silent(address, silence, &why, &addresses::own()),
            ClassError::Stranger { address } => CliError::new(
                "CLASS_STRANGER",
                format!("what answers at {address} is not the class of this code"),
            )
            .why("it has another key: the code is an old one, or somebody poses as the teacher")
            .fix("cadet class join CODE      with the code on the teacher's screen now"),
            ClassError::Date { from, until, now } => CliError::new(
                "CLASS_CLOCK",
                "the class's certificate does not fit this computer's clock",
            )
            .why(format!("it is valid from {from} to {until}; here it is {now}"))
            .fix("set this computer's clock, then repeat the command"),
            ClassError::Refused { id, message, .. } => refused(&id, message),
            ClassError::Answer(_) => CliError::new(
                "CLASS_VERSION",
                "the class does not answer as this version of Cadet expects",
            )
            .why(text)
            .fix("cadet version      on both laptops: the teacher's bundle brings the same one"),
            ClassError::Read { path, source } => machine::io("read", &path, &source),
            ClassError::Ledger { .. } => CliError::new(
                "HOST_STATE_CORRUPT",
                "what is kept of the class cannot be used",
            )
            .why(text)
            .fix("cadet class serve --new      begins a new class; the old one is forgotten"),
            ClassError::Listen { address, source } => CliError::new(
                "NET_PORT_TAKEN",
                format!("the class cannot listen on port {}", address.port()),
            )
            .why(source.to_string())
            .fix(match source.kind() {
                std::io::ErrorKind::AddrNotAvailable => {
                    "cadet class serve      without --address: on every address of this laptop"
                }
                _ => "cadet class serve --port 7434",
            }),
        }
    }
}

impl From<MirrorError> for CliError {
    fn from(e: MirrorError) -> Self {
        match e {
            MirrorError::Disk { act, path, source } => machine::io(act, &path, &source),
            other => CliError::new("CLASS_IMAGES", "the class's images cannot be kept")
                .why(other.to_string())
                .fix("cadet class serve --no-images"),
        }
    }
}

fn refused(id: &str, message: String) -> CliError {
    match id {
        "not-this-class" => CliError::new("CLASS_OVER", "the class does not know this code")
            .why("it is of another class, or of one that is over")
            .fix("cadet class join CODE      with the code on the teacher's screen now"),
        "closed" | "full" => CliError::new("CLASS_CLOSED", "the class lets nobody new in")
            .why(message)
            .fix("ask the teacher to press \"Let newcomers in\" on the board"),
        "not-joined" => CliError::new("CLASS_NOT_JOINED", "the class does not know you")
            .why("the teacher took you off the board, or began a new class")
            .fix("cadet class join CODE"),
        "too-many" => CliError::new("CLASS_BUSY", "the class has too much to do right now")
            .why(message)
            .fix("wait a few seconds, then repeat the command"),
        _ => CliError::new("CLASS_REFUSED", "the class does not take this")
            .why(message)
            .fix("cadet class status"),
    }
}

/// Why nobody answers at `address`: says which of network, Wi-Fi and program it is, as far as
/// this laptop can tell.
fn silent(address: SocketAddr, silence: Silence, why: &str, own: &[Own]) -> CliError {
    let near = match address.ip() {
        IpAddr::V4(there) => own.iter().find(|own| own.reaches(there)),
        IpAddr::V6(_) => None,
    };
    let here: Vec<String> = own.iter().map(|own| own.address.to_string()).collect();
    let said = format!("{address}: {why}");
    match (silence, near) {
        (Silence::Refused, _) => {
            CliError::new("CLASS_SILENT", format!("no class is open at {address}"))
                .why(format!(
                    "the computer is there, but no class listens on it ({why})"
                ))
                .fix("the teacher runs:  cadet class serve")
        }
        _ if own.is_empty() => CliError::new("CLASS_SILENT", "this laptop is in no network")
            .why(said)
            .fix("join the Wi-Fi of the room, then repeat the command"),
        (Silence::Timeout | Silence::NoRoute, Some(own)) => CliError::new(
            "CLASS_WIFI",
            "the Wi-Fi keeps this laptop and the teacher's apart",
        )
        .why(format!(
            "both are in one network ({} and {address}), and nothing comes back: client \
             isolation, or a firewall on the teacher's laptop",
            own.address
        ))
        .fix("tell the teacher:  cadet help CLASS_WIFI"),
        (Silence::Timeout | Silence::NoRoute, None) => CliError::new(
            "CLASS_SILENT",
            "this laptop is in another network than the teacher's",
        )
        .why(format!(
            "here it is {}; the class is at {address}",
            here.join(", ")
        ))
        .fix("join the Wi-Fi of the class, then repeat the command"),
        (Silence::Broken, _) => CliError::new("CLASS_SILENT", "the line to the class broke")
            .why(said)
            .fix("repeat the command: it goes on where it was"),
    }
}

/// The addresses of this laptop that learners could reach, or why there are none.
///
/// # Errors
/// CLASS_SILENT without any network.
pub fn reachable() -> Result<Vec<Own>, CliError> {
    let own = addresses::own();
    if own.is_empty() {
        return Err(
            CliError::new("CLASS_SILENT", "this laptop is in no network")
                .why("learners need an address to reach it")
                .fix("join the Wi-Fi of the room, or open a hotspot; then: cadet class serve"),
        );
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(address: &str, silence: Silence, own: &[Own]) -> &'static str {
        let address: SocketAddr = address.parse().unwrap();
        silent(address, silence, "why", own).topic.id
    }

    #[test]
    fn a_wifi_that_isolates_is_told_from_a_class_that_is_not_there() {
        let here = [Own {
            address: [192, 168, 1, 7].into(),
            prefix: 24,
        }];
        let near = "192.168.1.20:7433";
        assert_eq!(id(near, Silence::Timeout, &here), "CLASS_WIFI");
        assert_eq!(id(near, Silence::NoRoute, &here), "CLASS_WIFI");
        assert_eq!(id(near, Silence::Refused, &here), "CLASS_SILENT");
        assert_eq!(id("10.0.0.1:7433", Silence::Timeout, &here), "CLASS_SILENT");
        assert_eq!(id(near, Silence::Timeout, &[]), "CLASS_SILENT");
    }

    #[test]
    fn who_answers_wrongly_is_told_by_what_is_wrong() {
        let address = "192.168.1.20:7433".parse().unwrap();
        let dates = ["2026-01-01", "2026-02-01", "2026-11-27"].map(str::to_owned);
        let [from, until, now] = dates;
        for (error, topic) in [
            (ClassError::Stranger { address }, "CLASS_STRANGER"),
            (ClassError::Date { from, until, now }, "CLASS_CLOCK"),
            (ClassError::Code("a letter is wrong"), "PROGRAM_USAGE"),
            (ClassError::Answer("nonsense".into()), "CLASS_VERSION"),
        ] {
            let told = CliError::from(error);
            assert_eq!(told.topic.id, topic);
            assert!(told.fix.is_some() && told.why.is_some(), "{topic}");
        }
    }

    #[test]
    fn each_refusal_has_words() {
        for (refusal, topic) in [
            ("not-this-class", "CLASS_OVER"),
            ("closed", "CLASS_CLOSED"),
            ("full", "CLASS_CLOSED"),
            ("not-joined", "CLASS_NOT_JOINED"),
            ("too-many", "CLASS_BUSY"),
            ("signature", "CLASS_REFUSED"),
        ] {
            let error = refused(refusal, "m".into());
            assert_eq!(error.topic.id, topic);
            assert!(error.fix.is_some() && error.why.is_some(), "{topic}");
        }
    }
}
