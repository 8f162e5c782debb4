//! What is told of doors: a line for people, an object for programs.

use cadet_tunnel::control::ForwardStatus;
use serde_json::{Value, json};

use crate::ui::Ui;

/// Something about doors that people want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A door is open.
    Opened(ForwardStatus),
    /// A door was closed: nobody asks for it any more.
    Closed(ForwardStatus),
    /// These ports of a Service are of a kind that does not fit through.
    NotCarried { service: String, ports: Vec<String> },
    /// A door could not be opened at all.
    Failed {
        service: String,
        port: u16,
        why: String,
    },
    /// The API server is away, so changes are not seen.
    Away(String),
}

/// A door in one line.
pub fn words(door: &ForwardStatus) -> String {
    let why = door.why.as_deref();
    let why = why.map_or(String::new(), |why| format!(" ({why})"));
    format!("localhost:{} → {}{why}", door.local.port(), door.service)
}

/// A door as an object.
pub fn object(door: &ForwardStatus) -> Value {
    json!({
        "local": door.local.to_string(), "service": door.service, "host": door.host,
        "port": door.port, "wanted": door.wanted, "why": door.why,
    })
}

impl Event {
    /// The line for people.
    pub fn text(&self) -> String {
        match self {
            Self::Opened(door) => words(door),
            Self::Closed(door) => {
                let port = door.local.port();
                format!("localhost:{port} is closed ({})", door.service)
            }
            Self::NotCarried { service, ports } => format!(
                "{service}: {} cannot be reached here; the line into the machine carries TCP only",
                ports.join(", ")
            ),
            Self::Failed { service, port, why } => {
                format!("{service}: no door for port {port}: {why}")
            }
            Self::Away(why) => format!("{why}; doors stay as they are until it does"),
        }
    }

    /// Tells it.
    pub fn tell(&self, ui: &Ui) {
        let (kind, door) = match self {
            Self::Opened(door) => ("door.opened", door),
            Self::Closed(door) => ("door.closed", door),
            Self::NotCarried { .. } | Self::Failed { .. } | Self::Away(_) => {
                ui.warn("service", &self.text());
                return;
            }
        };
        if ui.json() {
            let mut object = object(door);
            object["type"] = kind.into();
            ui.object(&object);
        } else {
            ui.line(self.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(local: u16, wanted: u16, why: Option<&str>) -> ForwardStatus {
        ForwardStatus {
            local: ([127, 0, 0, 1], local).into(),
            host: "10.96.0.7".into(),
            port: wanted,
            service: "default/web".into(),
            wanted,
            why: why.map(str::to_owned),
        }
    }

    #[test]
    fn doors_read_as_the_storyboard() {
        assert_eq!(
            words(&door(6000, 6000, None)),
            "localhost:6000 → default/web"
        );
        let mapped = door(8080, 80, Some("port 80 needs root"));
        assert_eq!(
            words(&mapped),
            "localhost:8080 → default/web (port 80 needs root)"
        );
        let object = object(&mapped);
        assert_eq!(object["local"], "127.0.0.1:8080");
        assert_eq!(
            (&object["wanted"], &object["port"]),
            (&json!(80), &json!(80))
        );
        assert_eq!(object["why"], "port 80 needs root");
        assert_eq!(
            Event::Closed(mapped).text(),
            "localhost:8080 is closed (default/web)"
        );
    }

    #[test]
    fn what_does_not_fit_through_is_said_with_its_reason() {
        let event = Event::NotCarried {
            service: "default/dns".into(),
            ports: vec!["53/UDP".into(), "9/SCTP".into()],
        };
        assert_eq!(
            event.text(),
            "default/dns: 53/UDP, 9/SCTP cannot be reached here; the line into the machine carries TCP only"
        );
    }
}
