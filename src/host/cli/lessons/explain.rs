//! Why an object is not as it should be, in one sentence: the causes of `cadet why`.

use cadet_tutorial::condition::Target;

use super::api::Api;

/// The cause and its evidence; None where nothing is known. The engine then gives its own reason.
pub async fn explain(api: &Api, object: &Target) -> Option<String> {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let target = cadet_why::Target::parse(&[object.to_string()], namespace).ok()?;
    let cluster = api.cluster().await.ok()?;
    let facts = crate::why::fetch::facts(cluster, target).await.ok()?;
    cadet_why::reason(&facts)
}
