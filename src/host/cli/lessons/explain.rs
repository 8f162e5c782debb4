//! Why an object is not as it should be, in one sentence: the causes of `cadet why`.

use cadet_tutorial::condition::Target;

use super::api::Api;

/// The cause and its evidence; None where nothing is known. The engine then gives its own reason.
pub async fn explain(_api: &Api, _object: &Target) -> Option<String> {
    None
}
