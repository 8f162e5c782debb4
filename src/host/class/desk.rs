//! The teacher's other terminal: asks a class that is served from this laptop.

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::header::AUTHORIZATION;
use serde_json::Value;

use crate::client::{chain, http, parse, refusal, silence, whole};
use crate::error::{ClassError, Result};
use crate::pin::{Pinned, Trust};

/// See the module.
pub struct Desk {
    http: reqwest::Client,
    address: SocketAddr,
    teacher: String,
}

impl Desk {
    /// The class with this fingerprint at `port` of this laptop.
    ///
    /// # Errors
    /// [`ClassError::Tls`].
    pub fn new(port: u16, class: [u8; 32], teacher: &str) -> Result<Self> {
        Ok(Self {
            http: http(Pinned::new(Trust::Key(class))?)?,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            teacher: teacher.to_owned(),
        })
    }

    /// The board as it is now.
    ///
    /// # Errors
    /// [`ClassError::Silent`] when the class is over, [`ClassError::Refused`].
    pub async fn board(&self) -> Result<Value> {
        parse(&self.get("data").await?)
    }

    /// Figures per lesson and step.
    ///
    /// # Errors
    /// As [`Desk::board`].
    pub async fn pace(&self) -> Result<Value> {
        parse(&self.get("pace").await?)
    }

    /// What learners did, without names, as comma-separated values.
    ///
    /// # Errors
    /// As [`Desk::board`].
    pub async fn export(&self) -> Result<Vec<u8>> {
        self.get("export.csv").await
    }

    async fn get(&self, what: &str) -> Result<Vec<u8>> {
        let failed = |e: &reqwest::Error| ClassError::Silent {
            address: self.address,
            silence: silence(e),
            why: chain(e),
        };
        let request = self
            .http
            .get(format!("https://{}/board/{what}", self.address))
            .header(AUTHORIZATION, format!("Bearer {}", self.teacher));
        let answer = request.send().await.map_err(|e| failed(&e))?;
        let status = answer.status();
        let body = whole(answer, failed).await?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(refusal(status, &body))
        }
    }
}
