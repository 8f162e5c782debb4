//! One change of one object, and the line it makes in a watch.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cadet_store::Revision;

use crate::moment::Moment;
use crate::object::Object;

/// One change of one object. Its encodings are made once and shared by all who watch, as
/// long as it is new; who resumes later pays for an encoding of his own.
#[derive(Debug)]
pub struct Change {
    pub revision: Revision,
    pub current: Option<Arc<Object>>,
    pub previous: Option<Arc<Object>>,
    /// When it arrived here.
    pub at: Moment,
    lines: Mutex<Lines>,
}

/// The encodings of one change.
#[derive(Debug, Default)]
struct Lines {
    made: [Option<Bytes>; 3],
    /// No longer new: nothing is kept.
    old: bool,
}

/// What a watcher is told about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Added,
    Modified,
    Deleted,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            What::Added => "ADDED",
            What::Modified => "MODIFIED",
            What::Deleted => "DELETED",
        }
    }
}

impl Change {
    pub fn new(
        revision: Revision,
        current: Option<Arc<Object>>,
        previous: Option<Arc<Object>>,
    ) -> Change {
        Change {
            revision,
            current,
            previous,
            at: Moment::now(),
            lines: Mutex::default(),
        }
    }

    /// The change as a watcher sees it whose selector holds for the sides as given.
    pub fn seen(&self, before: bool, after: bool) -> Option<What> {
        match (before, after) {
            (false, true) => Some(What::Added),
            (true, true) => Some(What::Modified),
            (true, false) => Some(What::Deleted),
            (false, false) => None,
        }
    }

    /// The object a watcher is shown: the new side, or what was there before it left.
    pub fn shown(&self, what: What) -> Option<&Arc<Object>> {
        match what {
            What::Added | What::Modified => self.current.as_ref(),
            What::Deleted => self.previous.as_ref(),
        }
    }

    /// The watch event as one line of JSON, newline and all.
    pub fn line(&self, what: What) -> Bytes {
        // Nothing here panics halfway, so a poisoned lock is still sound.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = &lines.made[what as usize] {
            return line.clone();
        }
        let line = match self.shown(what) {
            Some(object) => line_of(what, object, self.revision),
            None => Bytes::new(),
        };
        if !lines.old {
            lines.made[what as usize] = Some(line.clone());
        }
        line
    }

    /// Lets go of the encodings: those who watch have them, and the change stays in the
    /// window for much longer than anybody needs them.
    pub fn age(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        *lines = Lines {
            made: [None, None, None],
            old: true,
        };
    }
}

/// Room for what stands around an object in an event, bytes: its frame and its version.
const FRAME: usize = 96;

/// A watch event that shows `object` at `revision`, as a line with its newline.
pub fn line_of(what: What, object: &Object, revision: Revision) -> Bytes {
    let mut line = Vec::with_capacity(object.size() + FRAME);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(what.name().as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    object.write_at(&mut line, revision);
    line.extend_from_slice(b"}\n");
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{key_of, to_stored};
    use cadet_store::Entry;

    #[test]
    fn an_event_is_encoded_once_and_a_deletion_shows_its_own_revision() {
        let pods = cadet_api::resource::find("", "v1", "pods").expect("pods");
        let value = serde_json::json!({"metadata": {"name": "x"}, "spec": {"nodeName": "n2"}});
        let entry = Entry {
            key: key_of(pods, "a", "x").into(),
            value: to_stored(pods, &value),
            created: 1,
            modified: 3,
        };
        let object = Arc::new(
            Object::from_entry(&entry, &crate::kinds::Kinds::default()).expect("readable"),
        );
        let change = Change::new(5, None, Some(object));
        let line = change.line(What::Deleted);
        let event: serde_json::Value = serde_json::from_slice(&line).expect("json");
        assert_eq!(event["type"], "DELETED");
        assert_eq!(event["object"]["metadata"]["resourceVersion"], "5");
        assert_eq!(event["object"]["spec"]["nodeName"], "n2");
        assert_eq!(line.as_ptr(), change.line(What::Deleted).as_ptr());
    }
}
