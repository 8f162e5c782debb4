//! One answered request, as readers of the journal see it.

use cadet_store::Revision;
use serde::Serialize;

use crate::moment::Moment;

/// See the module's opening. "" where there is none; revision 0 where nothing was written.
#[derive(Debug, Default, Serialize)]
pub struct Entry {
    /// When it was answered; given by the ring.
    pub time: Moment,
    pub user: String,
    /// `User-Agent`, cut short.
    pub agent: String,
    pub verb: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
    pub namespace: String,
    pub name: String,
    pub code: u16,
    pub revision: Revision,
}

impl Entry {
    /// About how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        let texts = [&self.user, &self.agent, &self.namespace, &self.name];
        size_of::<Entry>() + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}
