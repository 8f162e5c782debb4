//! A PersistentVolumeClaim: why it has no volume, or why it does not go.

use cadet_api::json::{list_at, map_at, str_at};
use cadet_api::quantity::Quantity;
use serde_json::Value;

use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::{Facts, name, ns};
use crate::kind::Kind;
use crate::pod;
use crate::want::Want;
use crate::words::{ago, and, between, kubectl, nearest, short};

/// Marks the class of claims that name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
/// Makes volumes in Cadet's own clusters.
const OURS: &str = "cadet.dev/local-path";

/// What is still to be fetched.
pub fn wants(facts: &Facts, claim: &Value) -> Vec<Want> {
    let mut wants = vec![
        Want::list(Kind::StorageClass, ""),
        Want::list(Kind::Volume, ""),
    ];
    if let Some(pod) = users(facts, claim).first() {
        wants.extend(pod::wants(facts, pod));
    }
    wants
}

/// Pods that use a claim and have not ended.
fn users<'a>(facts: &'a Facts, claim: &'a Value) -> Vec<&'a Value> {
    facts
        .within(Kind::Pod, ns(claim))
        .filter(|pod| !matches!(str_at(pod, "/status/phase"), "Succeeded" | "Failed"))
        .filter(|pod| {
            list_at(pod, "/spec/volumes")
                .iter()
                .any(|volume| str_at(volume, "/persistentVolumeClaim/claimName") == name(claim))
        })
        .collect()
}

/// Why a claim is as it is.
#[must_use]
pub fn explain(facts: &Facts, claim: &Value) -> Answer {
    told(facts, claim, true)
}

/// The same for a pod that waits for it: the pod is not asked again.
#[must_use]
pub fn explain_for_pod(facts: &Facts, claim: &Value) -> Answer {
    told(facts, claim, false)
}

fn told(facts: &Facts, claim: &Value, ask_pods: bool) -> Answer {
    let subject = format!("pvc/{}", name(claim));
    let describe = kubectl(ns(claim), &format!("describe pvc {}", name(claim)));
    let since = ago(str_at(claim, "/metadata/creationTimestamp"), facts.now);
    if let Some(answer) = leaving(facts, claim, &subject) {
        return answer;
    }
    match str_at(claim, "/status/phase") {
        "Bound" => {
            let volume = str_at(claim, "/spec/volumeName");
            let headline = format!("Nothing is wrong with {subject}: it has volume {volume}.");
            return Answer::new(Cause::NothingWrong, headline).then(describe);
        }
        "Lost" => {
            let headline = format!(
                "{subject} has lost its volume {}: what was on it is gone.",
                str_at(claim, "/spec/volumeName")
            );
            return Answer::new(Cause::ClaimLost, headline)
                .then("kubectl get pv")
                .then(describe);
        }
        _ => {}
    }
    let about = events::about(facts, Kind::Claim, claim);
    let last = events::latest(
        &about,
        &[
            "ProvisioningFailed",
            "FailedBinding",
            "VolumeMismatch",
            "WaitForFirstConsumer",
            "WaitForPodScheduled",
            "ClaimMisbound",
            "ExternalProvisioning",
        ],
    );
    let failed = events::latest(&about, &["ProvisioningFailed"]);
    let said = failed.or(last).map_or("", events::message);
    let answer = by_class(facts, claim, &subject)
        .or_else(|| by_volume_name(facts, claim, &subject, said))
        .or_else(|| waits(facts, claim, &subject, ask_pods))
        .or_else(|| refused(&subject, said))
        .or_else(|| no_class(facts, claim, &subject, said))
        .or_else(|| nobody_makes_it(facts, claim, &subject));
    let answer = answer.unwrap_or_else(|| {
        let headline = format!("I do not know why {subject} has no volume yet.");
        Answer::new(Cause::Unknown, headline)
    });
    answer
        .with("event", short(said, 220))
        .since(since)
        .then(describe)
}

fn leaving(facts: &Facts, claim: &Value, subject: &str) -> Option<Answer> {
    let at = str_at(claim, "/metadata/deletionTimestamp");
    if at.is_empty() {
        return None;
    }
    let pods: Vec<String> = users(facts, claim)
        .iter()
        .map(|pod| format!("pod/{}", name(pod)))
        .collect();
    let since = ago(at, facts.now);
    if pods.is_empty() {
        let finalizers: Vec<&str> = list_at(claim, "/metadata/finalizers")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let headline = format!(
            "{subject} is deleted but stays, because a finalizer waits for somebody to do its work."
        );
        return Some(
            Answer::new(Cause::StuckFinalizer, headline)
                .with("evidence", format!("finalizers: {}", finalizers.join(", ")))
                .since(since)
                .then(kubectl(ns(claim), &format!("describe pvc {}", name(claim)))),
        );
    }
    let headline = format!(
        "{subject} is deleted and goes when {} no longer uses it.",
        and(&pods)
    );
    let commands = pods
        .iter()
        .map(|pod| kubectl(ns(claim), &format!("delete {pod}")));
    let answer = Answer::new(Cause::ClaimInUse, headline).since(since);
    Some(commands.fold(answer, |answer, command| answer.then(command)))
}

fn class_of(claim: &Value) -> &str {
    match str_at(claim, "/spec/storageClassName") {
        "" => claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"]
            .as_str()
            .unwrap_or_default(),
        class => class,
    }
}

/// The class it names does not exist, and no volume of that class is free.
fn by_class(facts: &Facts, claim: &Value, subject: &str) -> Option<Answer> {
    let class = class_of(claim);
    let named = !str_at(claim, "/spec/volumeName").is_empty();
    if class.is_empty() || named || !facts.is_absent(Kind::StorageClass, "", class) {
        return None;
    }
    // Volumes made by hand may have a class of no object.
    if let Some(answer) = unfit(facts, claim, subject) {
        return Some(answer);
    }
    let headline = format!("{subject} has no volume because there is no StorageClass {class}.");
    let mut answer = Answer::new(Cause::ClassMissing, headline);
    let known: Vec<&str> = facts.all(Kind::StorageClass).map(name).collect();
    if let Some(near) = nearest(class, known.iter().copied()) {
        answer = answer.with("evidence", format!("there is a StorageClass {near}"));
    } else if !known.is_empty() {
        answer = answer.with("evidence", format!("there is {}", known.join(", ")));
    }
    Some(answer.then("kubectl get storageclasses"))
}

/// Free volumes of its class, and why each is not for it.
fn unfit(facts: &Facts, claim: &Value, subject: &str) -> Option<Answer> {
    let wants = size(&claim["spec"]["resources"]["requests"]["storage"]);
    let modes: Vec<&str> = list_at(claim, "/spec/accessModes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut found = None;
    let free = facts.all(Kind::Volume).filter(|volume| {
        class_of(volume) == class_of(claim) && volume["spec"]["claimRef"].is_null()
    });
    for volume in free {
        let has = map_at(volume, "/spec/capacity").and_then(|map| map.get("storage"));
        let gives: Vec<&str> = list_at(volume, "/spec/accessModes")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let small = has.is_some_and(|has| size(has) < wants);
        let other_mode = modes.iter().any(|mode| !gives.contains(mode));
        let told = |cause, words: &str, text: String| {
            Answer::new(cause, format!("{subject} has no volume because {words}."))
                .with("evidence", format!("volume {}: {text}", name(volume)))
                .then("kubectl get pv")
        };
        if other_mode {
            let text = format!(
                "gives {}, and the claim wants {}",
                gives.join(", "),
                modes.join(", ")
            );
            found = found.or(Some(told(
                Cause::AccessMode,
                "no free volume may be used the way it wants",
                text,
            )));
        } else if small {
            let text = format!(
                "has {}, and the claim wants {}",
                text_of(has),
                text_of(claim["spec"]["resources"]["requests"].get("storage"))
            );
            found = Some(told(
                Cause::VolumeSize,
                "no free volume is large enough",
                text,
            ));
        }
    }
    found
}

fn size(value: &Value) -> Quantity {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn text_of(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or("?")
}

/// It asks for one volume by name.
fn by_volume_name(facts: &Facts, claim: &Value, subject: &str, said: &str) -> Option<Answer> {
    let wanted = str_at(claim, "/spec/volumeName");
    if wanted.is_empty() {
        return None;
    }
    if facts.is_absent(Kind::Volume, "", wanted) {
        let headline =
            format!("{subject} has no volume because the one it names, {wanted}, does not exist.");
        return Some(Answer::new(Cause::ClaimLost, headline).then("kubectl get pv"));
    }
    let volume = facts.find(Kind::Volume, "", wanted)?;
    let other = &volume["spec"]["claimRef"];
    if other["name"].is_string()
        && (other["name"] != name(claim) || other["namespace"] != ns(claim))
    {
        let headline = format!(
            "{subject} has no volume because the one it names, {wanted}, belongs to another claim."
        );
        let text = format!(
            "volume {wanted} is for {}/{}",
            str_at(other, "/namespace"),
            str_at(other, "/name")
        );
        return Some(
            Answer::new(Cause::VolumeTaken, headline)
                .with("evidence", text)
                .then(format!("kubectl describe pv {wanted}")),
        );
    }
    let (cause, words) = if said.contains("too small") {
        (Cause::VolumeSize, "is smaller than the claim wants")
    } else if said.contains("accessMode") {
        (Cause::AccessMode, "may not be used the way the claim wants")
    } else if said.contains("storageClassName does not match") {
        (Cause::ClassMissing, "is of another class")
    } else {
        return None;
    };
    let headline = format!("{subject} has no volume because the one it names, {wanted}, {words}.");
    Some(Answer::new(cause, headline).then(format!("kubectl describe pv {wanted}")))
}

/// Its class makes volumes where the first pod is, and there is none yet.
fn waits(facts: &Facts, claim: &Value, subject: &str, ask_pods: bool) -> Option<Answer> {
    let class = facts.find(Kind::StorageClass, "", class_of(claim))?;
    let selected =
        claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"].is_string();
    if str_at(class, "/volumeBindingMode") != "WaitForFirstConsumer" || selected {
        return None;
    }
    let pods = users(facts, claim);
    let Some(first) = pods.first() else {
        let headline = format!(
            "{subject} waits, as it should: its volume is made when a pod uses it, and none does yet."
        );
        let text = format!(
            "StorageClass {} has volumeBindingMode WaitForFirstConsumer",
            name(class)
        );
        return Some(Answer::new(Cause::ClaimWaits, headline).with("evidence", text));
    };
    if !str_at(first, "/spec/nodeName").is_empty() {
        return None;
    }
    let behind = ask_pods.then(|| pod::explain(facts, first));
    if let Some(behind) =
        behind.filter(|behind| behind.is_fault() && behind.cause != Cause::ClaimUnbound)
    {
        let headline = format!(
            "{subject} waits for pod/{}, which has no node yet: {}",
            name(first),
            behind.headline
        );
        return Some(behind.told_as(headline));
    }
    let headline = format!("{subject} waits until pod/{} has a node.", name(first));
    Some(Answer::new(Cause::ClaimWaits, headline))
}

/// The maker of volumes said no.
fn refused(subject: &str, said: &str) -> Option<Answer> {
    if said.contains("access modes") {
        let headline = format!(
            "{subject} has no volume because its class makes none for several nodes: only ReadWriteOnce and ReadWriteOncePod."
        );
        return Some(Answer::new(Cause::AccessMode, headline));
    }
    if said.contains("no volume plugin matched") {
        let plugin = said.split("matched name: ").nth(1).unwrap_or("its class");
        let headline =
            format!("{subject} has no volume because nobody makes volumes for {plugin}.");
        return Some(Answer::new(Cause::Provisioning, headline).then("kubectl get storageclasses"));
    }
    let why = between(
        said,
        "failed to provision volume with StorageClass \"",
        "\"",
    )?;
    let words = said.rsplit_once("\": ").map_or(said, |(_, words)| words);
    let headline = format!(
        "{subject} has no volume because StorageClass {why} could not make one: {}.",
        short(words, 120).trim_end_matches('.')
    );
    Some(Answer::new(Cause::Provisioning, headline))
}

fn no_class(facts: &Facts, claim: &Value, subject: &str, said: &str) -> Option<Answer> {
    if !class_of(claim).is_empty() {
        return None;
    }
    if let Some(answer) = unfit(facts, claim, subject) {
        return Some(answer);
    }
    if !said.contains("no storage class is set") {
        return None;
    }
    let by_will = claim["spec"]["storageClassName"] == "";
    let default = facts
        .all(Kind::StorageClass)
        .find(|class| class["metadata"]["annotations"][DEFAULT] == "true");
    let words = match (by_will, default) {
        (true, _) => {
            "it asks for a volume made by hand (storageClassName is \"\"), and none is free"
        }
        (false, None) => "it names no StorageClass, and the cluster has no default one",
        (false, Some(_)) => "it was made before the cluster had a default StorageClass",
    };
    let headline = format!("{subject} has no volume because {words}.");
    Some(
        Answer::new(Cause::ClassUnset, headline)
            .then("kubectl get storageclasses")
            .then("kubectl get pv"),
    )
}

/// Another program makes the volumes of its class, and has not.
fn nobody_makes_it(facts: &Facts, claim: &Value, subject: &str) -> Option<Answer> {
    let class = facts.find(Kind::StorageClass, "", class_of(claim))?;
    let maker = str_at(class, "/provisioner");
    if maker == OURS || maker == "kubernetes.io/no-provisioner" {
        return unfit(facts, claim, subject);
    }
    let headline = format!(
        "{subject} has no volume; {maker}, which makes those of StorageClass {}, may not be running.",
        name(class)
    );
    Some(
        Answer::new(Cause::Provisioning, headline)
            .unsure()
            .then("kubectl get pods -A"),
    )
}
