//! A learner plays a small lesson: here, and in their own terminal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::drive;
use super::fake::{BAD_IMAGE, FakeWorld};
use crate::event::{Event, How, Reason, Verb};
use crate::folder::{Folder, LESSON};
use crate::model::Lesson;
use crate::play::{Options, Report, play};
use crate::progress::{LessonProgress, StepState};
use crate::world::{World, WorldError};

const HEAD: &str = "---\nformat: 1\ntitle: T\nsummary: S\nminutes: 1\n---\nHello.\n\n";

const POD: &str = r#"
## Make a pod

It runs.

```run
kubectl run web --image=web:1
```
```watch
- object: pod/web
  ready: true
```
```hint
Run it.
```
```hint
Press Enter.
```
```not-yet
- when: [{object: pod/web, where: ["status.phase == Pending"]}]
  say: The image is not to be had.
```
```reset
kubectl delete pod web --ignore-not-found
```
```mistake
says: there is pod/wbe
run: kubectl run wbe --image=web:1
undo: kubectl delete pod wbe --ignore-not-found
```
```mistake
says: not to be HAD
run: kubectl run web --image=bad:1
undo: kubectl delete pod web --ignore-not-found
```
"#;

const LOOK: &str = r#"
## Look at it

It is listed.

```run
kubectl get pods
```
```run background
kubectl port-forward pod/web 8080:80
```
```watch
- asked: list pods
```
```reset
kubectl get pods
```
"#;

const PLAN: &str = r#"
## Write a plan

A file.

```file plan.txt
to the moon
```
```watch
- file: plan.txt
  contains: moon
```
```mistake
says: '"moon" is missing'
file: {plan.txt: to the sun}
```
"#;

const READ: &str = "\n## Read\n\nThat was it.\n\n```watch\n- done: true\n```\n";

fn lesson(steps: &[&str]) -> Arc<Lesson> {
    let text = format!("{HEAD}{}", steps.concat());
    let files = BTreeMap::from([(LESSON.to_owned(), text.into_bytes())]);
    let folder = Folder::from_files("01-test", files);
    let lesson = crate::load::sound(&folder).unwrap_or_else(|found| panic!("{found:#?}"));
    Arc::new(lesson)
}

/// A learner at the keyboard.
struct Learner {
    verbs: mpsc::Sender<Verb>,
    heard: mpsc::UnboundedReceiver<Event>,
    engine: JoinHandle<Result<LessonProgress, WorldError>>,
}

impl Learner {
    fn begin(world: &Arc<FakeWorld>, lesson: &Arc<Lesson>) -> Learner {
        Learner::resume(world, lesson, LessonProgress::new(lesson, 0))
    }

    fn resume(world: &Arc<FakeWorld>, lesson: &Arc<Lesson>, kept: LessonProgress) -> Learner {
        let (verbs, verbs_end) = mpsc::channel(8);
        let (events, heard) = mpsc::unbounded_channel();
        let world: Arc<dyn World> = Arc::clone(world) as Arc<dyn World>;
        let engine = tokio::spawn(drive(world, Arc::clone(lesson), kept, verbs_end, events));
        Learner {
            verbs,
            heard,
            engine,
        }
    }

    async fn press(&self, verb: Verb) {
        self.verbs.send(verb).await.expect("the engine listens");
    }

    /// The next event that `wanted` takes.
    async fn hears<T>(&mut self, what: &str, wanted: impl Fn(Event) -> Option<T>) -> T {
        let deadline = Duration::from_secs(60);
        let heard = async {
            let mut passed = Vec::new();
            loop {
                match self.heard.recv().await {
                    Some(event) => match wanted(event.clone()) {
                        Some(found) => return found,
                        None => passed.push(event),
                    },
                    None => panic!("the engine ended before {what}; heard {passed:#?}"),
                }
            }
        };
        match tokio::time::timeout(deadline, heard).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}"),
        }
    }

    async fn completes(&mut self, index: usize) -> How {
        self.hears("completion", |event| match event {
            Event::Completed { step, how, .. } if step == index => Some(how),
            _ => None,
        })
        .await
    }

    async fn is_shown(&mut self, index: usize) {
        self.hears("a step", |event| match event {
            Event::StepShown { step, .. } => (step == index).then_some(()),
            _ => None,
        })
        .await;
    }

    async fn is_told(&mut self, part: &str) -> Reason {
        self.hears(part, |event| match event {
            Event::NotYet { reason, by } if reason.contains(part) => Some(by),
            _ => None,
        })
        .await
    }

    async fn leaves(self) -> LessonProgress {
        self.press(Verb::Quit).await;
        self.ends().await
    }

    async fn ends(self) -> LessonProgress {
        self.engine.await.expect("no panic").expect("no error")
    }
}

/// Waits for the learner's word; what it says meanwhile comes from a file.
const TOLD: &str = r#"
## Told

```watch
- done: true
```
```not-yet
- when: [{file: plan.txt, contains: sun}]
  say: The plan leads to the sun.
```
"#;

#[tokio::test]
async fn the_reason_of_a_step_that_waits_for_a_word_follows_what_cannot_be_watched() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[TOLD]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.is_told("run it here").await;
    let plan = b"to the sun".to_vec();
    world.inner().files.insert("plan.txt".to_owned(), plan);
    assert_eq!(learner.is_told("leads to the sun").await, Reason::Author);
}

#[tokio::test]
async fn a_learner_goes_through_with_enter() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD, LOOK, READ]));
    let mut learner = Learner::begin(&world, &lesson);
    let by = learner.is_told("there is no pod/web").await;
    assert_eq!(by, Reason::Condition);
    learner.press(Verb::Run).await;
    assert_eq!(learner.completes(0).await, How::Done);
    learner.press(Verb::Run).await;
    learner.is_shown(1).await;
    learner.press(Verb::Run).await;
    assert_eq!(learner.completes(1).await, How::Done);
    world.until(|inner| inner.background.len() == 1).await;
    learner.press(Verb::Next).await;
    learner.is_shown(2).await;
    assert!(world.inner().background.is_empty(), "it ends with its step");
    learner.is_told("run it here").await;
    learner.press(Verb::Next).await;
    learner.completes(2).await;
    learner.press(Verb::Next).await;
    let skipped = learner
        .hears("the end", |event| match event {
            Event::LessonCompleted { skipped, .. } => Some(skipped),
            _ => None,
        })
        .await;
    assert_eq!(skipped, 0);
    let progress = learner.ends().await;
    assert_eq!((progress.step, progress.left()), (3, 3));
    assert!(progress.finished.is_some());
    assert_eq!(world.inner().saved.last(), Some(&progress));
}

#[tokio::test]
async fn what_is_done_in_another_terminal_counts() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD, LOOK]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.is_told("there is no pod/web").await;
    world.terminal("kubectl run wbe --image=web:1");
    learner.is_told("there is pod/wbe").await;
    world.terminal("kubectl run web --image=bad:1");
    assert_eq!(learner.is_told("not to be had").await, Reason::Author);
    world.terminal("kubectl delete pod web");
    world.terminal("kubectl run web --image=web:1");
    assert_eq!(learner.completes(0).await, How::Done);
    learner.press(Verb::Next).await;
    learner.is_told("not yet asked to list pods").await;
    world.terminal("kubectl get pod web");
    learner
        .is_told("the last you asked was to get pods web")
        .await;
    world.terminal("kubectl get pods");
    assert_eq!(learner.completes(1).await, How::Done);
    learner.leaves().await;
}

#[tokio::test]
async fn what_is_so_already_is_said_so() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD]));
    world.terminal("kubectl run web --image=web:1");
    let mut learner = Learner::begin(&world, &lesson);
    assert_eq!(learner.completes(0).await, How::Already);
    learner.leaves().await;
}

#[tokio::test]
async fn causes_are_asked_of_the_cluster() {
    let plain = POD.replace(
        "not-yet\n- when: [{object: pod/web",
        "not-yet\n- when: [{object: pod/x",
    );
    let (world, lesson) = (FakeWorld::new(), lesson(&[&plain]));
    world.inner().why = Some("the registry does not know this image".to_owned());
    let mut learner = Learner::begin(&world, &lesson);
    learner.is_told("there is no pod/web").await;
    world.terminal(&format!("kubectl run web --image={BAD_IMAGE}"));
    assert_eq!(
        learner.is_told("the registry does not know").await,
        Reason::Why
    );
    learner.leaves().await;
}

#[tokio::test]
async fn hints_come_one_by_one() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD]));
    let mut learner = Learner::begin(&world, &lesson);
    let hint = |event| match event {
        Event::Hint { number, text, .. } => Some((number, text)),
        _ => None,
    };
    learner.press(Verb::Hint).await;
    assert_eq!(
        learner.hears("a hint", hint).await,
        (1, "Run it.".to_owned())
    );
    learner.press(Verb::Hint).await;
    assert_eq!(
        learner.hears("a hint", hint).await,
        (2, "Press Enter.".to_owned())
    );
    learner.press(Verb::Hint).await;
    let none = |event| matches!(event, Event::NoMoreHints { total: 2 }).then_some(());
    learner.hears("no more hints", none).await;
    assert_eq!(learner.leaves().await.steps[0].hints, 2);
}

#[tokio::test]
async fn a_check_answers_with_everything() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD, READ]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.press(Verb::Check).await;
    let checked = |event| match event {
        Event::Checked {
            holds,
            conditions,
            reason,
        } => Some((holds, conditions, reason)),
        _ => None,
    };
    let (holds, conditions, reason) = learner.hears("an answer", checked).await;
    assert!(!holds);
    assert_eq!(conditions[0].wanted, "pod/web ready");
    assert!(reason.unwrap().contains("there is no pod/web"));
    learner.press(Verb::Solve).await;
    assert_eq!(learner.completes(0).await, How::Solved);
    learner.press(Verb::Check).await;
    let (holds, _, reason) = learner.hears("an answer", checked).await;
    assert!(holds && reason.is_none());
    learner.leaves().await;
}

#[tokio::test]
async fn a_step_can_be_skipped_and_reset() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD, PLAN, READ]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.press(Verb::Solve).await;
    learner.completes(0).await;
    learner.press(Verb::Reset).await;
    let reset = |event| match event {
        Event::WasReset { steps } => Some(steps),
        _ => None,
    };
    assert_eq!(learner.hears("the reset", reset).await, [0]);
    learner.is_shown(0).await;
    learner.is_told("there is no pod/web").await;
    learner.press(Verb::Skip).await;
    learner.is_shown(1).await;
    learner.press(Verb::Run).await;
    learner.completes(1).await;
    assert_eq!(world.inner().files["plan.txt"], b"to the moon\n");
    learner.press(Verb::ResetLesson).await;
    assert_eq!(learner.hears("the reset", reset).await, [2, 1, 0]);
    learner.is_shown(0).await;
    {
        let inner = world.inner();
        assert_eq!((inner.cleaned, inner.prepared), (1, 2));
        assert!(!inner.files.contains_key("plan.txt"));
    }
    learner.press(Verb::Skip).await;
    learner.is_shown(1).await;
    learner.press(Verb::GoTo(7)).await;
    let trouble = |event| match event {
        Event::Trouble { what, .. } => Some(what),
        _ => None,
    };
    assert_eq!(
        learner.hears("trouble", trouble).await,
        "this lesson has 3 steps"
    );
    let progress = learner.leaves().await;
    assert_eq!(progress.steps[0].state, StepState::Skipped);
    assert_eq!(progress.step, 1);
}

#[tokio::test]
async fn a_lesson_is_taken_up_where_it_was_left() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD, LOOK]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.press(Verb::Run).await;
    learner.completes(0).await;
    // Left after completion: the next step comes.
    let kept = learner.leaves().await;
    let mut learner = Learner::resume(&world, &lesson, kept);
    learner.is_shown(1).await;
    learner.is_told("not yet asked").await;
    let kept = learner.leaves().await;
    // What is asked while nobody looks counts as well: the journal has its mark.
    world.terminal("kubectl get pods");
    let kept = LessonProgress::decode(&kept.encode()).unwrap();
    let mut learner = Learner::resume(&world, &lesson, kept);
    learner.completes(1).await;
    learner.leaves().await;
}

#[tokio::test]
async fn only_what_came_after_the_step_began_is_new() {
    let step = "\n## Again\n\nNew.\n\n```run\nkubectl delete pod web --ignore-not-found\n\
                kubectl run web --image=web:1\n```\n```watch\n- object: pod/web\n  ready: true\n\
                \x20 since: step\n```\n```reset\nkubectl get pods\n```\n";
    let (world, lesson) = (FakeWorld::new(), lesson(&[step]));
    world.terminal("kubectl run web --image=web:1");
    let mut learner = Learner::begin(&world, &lesson);
    learner.is_told("still the one from before").await;
    let kept = learner.leaves().await;
    let mut learner = Learner::resume(&world, &lesson, kept);
    learner.is_told("still the one from before").await;
    learner.press(Verb::Run).await;
    assert_eq!(learner.completes(0).await, How::Done);
    learner.leaves().await;
}

#[tokio::test]
async fn a_script_in_the_machine_must_have_run() {
    let step = "\n## Break\n\nBroken.\n\n```guest\nrm -rf /tmp/x\n```\n```watch\n\
                - absent: pod/web\n```\n```solve\nkubectl get pods\n```\n\
                ```reset\nkubectl get pods\n```\n";
    let (world, lesson) = (FakeWorld::new(), lesson(&[step]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.is_told("has not run in the machine").await;
    learner.press(Verb::Run).await;
    assert_eq!(learner.completes(0).await, How::Done);
    learner.press(Verb::GoTo(0)).await;
    learner.press(Verb::Solve).await;
    world.until(|inner| !inner.ran.is_empty()).await;
    assert_eq!(world.inner().guest, ["rm -rf /tmp/x\n"], "once is enough");
    learner.leaves().await;
}

#[tokio::test]
async fn enter_does_not_solve_a_riddle() {
    let step = "\n## Find out\n\nHow?\n\n```watch\n- object: pod/web\n```\n\
                ```solve\nkubectl run web --image=web:1\n```\n";
    let (world, lesson) = (FakeWorld::new(), lesson(&[step]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.press(Verb::Run).await;
    let trouble = |event| match event {
        Event::Trouble { what, .. } => Some(what),
        _ => None,
    };
    assert!(
        learner
            .hears("trouble", trouble)
            .await
            .contains("shows no command")
    );
    learner.press(Verb::Next).await;
    learner.is_told("there is no pod/web").await;
    learner.press(Verb::Solve).await;
    assert_eq!(learner.completes(0).await, How::Solved);
    learner.leaves().await;
}

#[tokio::test]
async fn a_page_is_asked_until_it_answers() {
    let step = "\n## Open\n\nA page.\n\n```run\ncurl http://web/\n```\n```watch\n\
                - http: http://web/\n  contains: rocket\n```\n";
    let (world, lesson) = (FakeWorld::new(), lesson(&[step]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.is_told("connection refused").await;
    // Nothing tells that the page changes, and it is noticed all the same.
    world.until(|inner| inner.questions >= 3).await;
    world.inner().page = Some("a cat".to_owned());
    learner.is_told("\"rocket\" is missing").await;
    world.inner().page = Some("a rocket".to_owned());
    learner.completes(0).await;
    learner.leaves().await;
}

#[tokio::test]
async fn a_command_can_be_interrupted() {
    let step = "\n## Wait\n\nLong.\n\n```run\nkubectl wait pod/web --for=condition=Ready\n```\n\
                ```watch\n- done: true\n```\n";
    let (world, lesson) = (FakeWorld::new(), lesson(&[step]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.press(Verb::Run).await;
    world.until(|inner| !inner.ran.is_empty()).await;
    learner.press(Verb::Run).await;
    let trouble = |event| match event {
        Event::Trouble { what, .. } => Some(what),
        _ => None,
    };
    assert!(
        learner
            .hears("trouble", trouble)
            .await
            .contains("still running")
    );
    learner.press(Verb::Interrupt).await;
    let code = |event| match event {
        Event::Ended { code, .. } => Some(code),
        _ => None,
    };
    assert_eq!(learner.hears("the end", code).await, 130);
    learner.press(Verb::Next).await;
    assert_eq!(learner.completes(0).await, How::Done);
    learner.leaves().await;
}

#[tokio::test]
async fn a_command_that_fails_is_told() {
    let step =
        "\n## Fail\n\nNo.\n\n```run\nkubectl drain explode\n```\n```watch\n- done: true\n```\n";
    let (world, lesson) = (FakeWorld::new(), lesson(&[step]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.press(Verb::Run).await;
    learner
        .is_told("`kubectl drain explode` ended with exit code 1")
        .await;
    learner.leaves().await;
    let step = step.replace("```run\n", "```run fails\n");
    let (world, lesson) = (FakeWorld::new(), super::tests::lesson(&[&step]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.press(Verb::Run).await;
    assert_eq!(learner.completes(0).await, How::Done);
    learner.leaves().await;
}

#[tokio::test]
async fn a_cluster_deleted_midway_is_told_and_the_lesson_goes_on_in_the_next() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD, LOOK, READ]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.press(Verb::Solve).await;
    learner.completes(0).await;
    learner.press(Verb::Reset).await;
    learner.is_told("there is no pod/web").await;
    // The pod is not ready yet, and then there is no cluster any more.
    world.terminal("kubectl run web --image=bad:1");
    learner.is_told("not to be had").await;
    world.another_cluster();
    let trouble = |event| match event {
        Event::Trouble { what, .. } => Some(what),
        _ => None,
    };
    let told = learner.hears("the outage", trouble).await;
    assert!(told.contains("the machine was deleted"), "{told}");
    learner.is_told("there is no pod/web").await;
    learner.press(Verb::Run).await;
    assert_eq!(learner.completes(0).await, How::Done);
    let progress = learner.leaves().await;
    assert_eq!(progress.step, 1);
    assert_eq!(world.inner().saved.last(), Some(&progress));
}

#[tokio::test]
async fn progress_that_cannot_be_kept_is_told_and_the_lesson_goes_on() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD, LOOK, READ]));
    let mut learner = Learner::begin(&world, &lesson);
    learner.is_told("there is no pod/web").await;
    world.inner().locked = true;
    learner.press(Verb::Run).await;
    let trouble = |event| match event {
        Event::Trouble { what, fix } => Some((what, fix)),
        _ => None,
    };
    let (what, fix) = learner.hears("the trouble", trouble).await;
    assert_eq!(what, "the records are in use");
    assert_eq!(fix.as_deref(), Some("cadet doctor"));
    learner.completes(0).await;
    // Whoever held it lets go, and everything is kept.
    world.inner().locked = false;
    let progress = learner.leaves().await;
    assert_eq!(progress.step, 1);
    assert_eq!(world.inner().saved.last(), Some(&progress));
}

async fn played(world: &Arc<FakeWorld>, lesson: &Arc<Lesson>, keep: bool) -> Report {
    let (events, _heard) = mpsc::unbounded_channel();
    let options = Options {
        mistakes: true,
        keep,
        deadline: Duration::from_secs(60),
    };
    let world = Arc::clone(world) as Arc<dyn World>;
    play(world, Arc::clone(lesson), options, events).await
}

#[tokio::test]
async fn a_true_lesson_plays_with_its_mistakes() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD, LOOK, PLAN, READ]));
    let report = played(&world, &lesson, false).await;
    assert!(report.ok(), "{report:#?}");
    let mistakes: Vec<usize> = report.steps.iter().map(|step| step.mistakes).collect();
    assert_eq!(mistakes, [2, 0, 1, 0]);
    let inner = world.inner();
    assert!(inner.saved.is_empty(), "a test is nobody's progress");
    assert!(inner.background.is_empty());
    assert_eq!(inner.cleaned, 1);
    let last = inner.ran.iter().rfind(|text| text.contains("delete"));
    assert_eq!(last.unwrap(), "kubectl delete pod web --ignore-not-found");
}

#[tokio::test]
async fn a_lesson_can_be_left_as_it_is() {
    let (world, lesson) = (FakeWorld::new(), lesson(&[POD]));
    assert!(played(&world, &lesson, true).await.ok());
    assert_eq!(world.inner().cleaned, 0);
    assert_eq!(world.terminal("kubectl get pod web").code, 0);
}

#[tokio::test]
async fn a_step_that_is_complete_from_the_start_fails() {
    let step = "\n## Nothing\n\nNo.\n\n```run\nkubectl get pods\n```\n```watch\n\
                - absent: pod/web\n```\n";
    let (world, lesson) = (FakeWorld::new(), lesson(&[step]));
    let report = played(&world, &lesson, false).await;
    assert!(!report.ok());
    let failure = &report.steps[0].failures[0];
    assert!(
        failure.contains("complete before anything is done"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_mistake_that_does_no_harm_fails() {
    let step = POD.replace(
        "kubectl run wbe --image=web:1",
        "kubectl run web --image=web:1",
    );
    let (world, lesson) = (FakeWorld::new(), lesson(&[&step]));
    let report = played(&world, &lesson, false).await;
    let failure = &report.steps[0].failures[0];
    assert!(
        failure.contains("completes although the mistake was made"),
        "{failure}"
    );
    assert_eq!(report.steps.len(), 1);
}

#[tokio::test]
async fn a_mistake_that_is_not_told_fails() {
    let step = POD.replace("says: there is pod/wbe", "says: the moon is full");
    let (world, lesson) = (FakeWorld::new(), lesson(&[&step]));
    let (events, _heard) = mpsc::unbounded_channel();
    let options = Options {
        mistakes: true,
        keep: false,
        // What is waited for never comes.
        deadline: Duration::from_millis(300),
    };
    let world_of_play = Arc::clone(&world) as Arc<dyn World>;
    let report = play(world_of_play, lesson, options, events).await;
    assert!(!report.ok());
    // On a slow machine the first look may already be too late; then that is what is told.
    let of_steps = report.steps.iter().flat_map(|step| &step.failures);
    let mut failures = of_steps.chain(&report.failures);
    assert!(failures.any(|text| text.contains("in vain")), "{report:#?}");
}

#[tokio::test]
async fn a_world_that_fails_ends_what_is_done() {
    let actions = vec![
        super::work::Action::Run {
            command: crate::command::parse("lost", 1).unwrap(),
            fails: false,
        },
        super::work::Action::Guest("never".to_owned()),
    ];
    let world = FakeWorld::new();
    let (events, mut heard) = mpsc::unbounded_channel();
    let (to, _inbox) = mpsc::unbounded_channel();
    let post = super::sources::Post { to, turn: 0 };
    let voice = super::work::Voice(events);
    let outcome = super::work::perform(&*world, actions, &voice, &post).await;
    assert_eq!(outcome, Err("kubectl was not found".to_owned()));
    assert!(world.inner().guest.is_empty());
    drop(voice);
    let mut troubles = 0;
    while let Some(event) = heard.recv().await {
        if let Event::Trouble { fix, .. } = event {
            assert_eq!(fix.as_deref(), Some("install kubectl"));
            troubles += 1;
        }
    }
    assert_eq!(troubles, 1);
}
