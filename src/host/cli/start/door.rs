//! Step `tunnel` on servers: a process of its own leads 127.0.0.1 to the API server, because no
//! QEMU forwards its port here, and a server's firewall need not let it in.

use async_trait::async_trait;
use cadet_state::Profile;

use super::{Note, Step, Voyage};
use crate::error::Result;
use crate::{Context, line};

/// See the module.
pub struct Door;

#[async_trait]
impl Step for Door {
    fn name(&self) -> &'static str {
        "tunnel"
    }

    async fn plan(&self, _: &mut Voyage<'_>) -> Result<String> {
        Ok("the API at a port of 127.0.0.1, SOCKS5 beside it, through one SSH session".into())
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        let there = line::background_status(v.cx).await;
        Ok(there.map(|_| Note::there(told(v))))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let (_, note) = line::ensure_background_quietly(v.cx).await?;
        if let Some(note) = note {
            v.cx.ui.warn("tunnel", &note);
        }
        Ok(Note::new(told(v)))
    }

    async fn undo(&self, cx: &Context, _: &Profile) -> Result<()> {
        line::stop_background(cx).await.map(drop)
    }
}

fn told(v: &Voyage<'_>) -> String {
    let port = v.profile.ports.map_or(0, |ports| ports.api);
    format!("127.0.0.1:{port} leads to the API, in the background")
}
