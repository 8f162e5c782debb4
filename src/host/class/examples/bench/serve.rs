//! The server as a process of its own: `serve FILE ADDRESS`; prints the join code, and ends with
//! its input.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;

use cadet_class::ClassKey;
use cadet_class::ledger::{Change, Ledger, Trouble};
use cadet_class::need::Outline;
use cadet_class::server::{Class, Limits, Setup, serve};
use tokio::net::TcpListener;

use crate::Result;

/// The teacher's token.
pub const TEACHER: &str = "BENCH";
pub const LESSON: &str = "telescope";
pub const STEPS: usize = 8;

/// Rows go nowhere: what is measured is the network.
struct Nowhere;

impl Ledger for Nowhere {
    fn rows(&self) -> std::result::Result<Vec<(String, Vec<u8>)>, Trouble> {
        Ok(Vec::new())
    }

    fn put(&self, _: &[Change]) -> std::result::Result<(), Trouble> {
        Ok(())
    }
}

pub fn run(arguments: &[String]) -> Result<()> {
    let [file, address] = arguments else {
        return Err("serve FILE ADDRESS".into());
    };
    let address: SocketAddr = address.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let setup = Setup {
            title: "Bench".into(),
            key: ClassKey::generate()?,
            token: [7; 5],
            teacher: TEACHER.into(),
            files: vec![file.into()],
            lessons: vec![Outline {
                name: LESSON.into(),
                title: "A telescope".into(),
                steps: (0..STEPS).map(|n| format!("Step {n}")).collect(),
                minutes: 20,
            }],
            commands: None,
            mirror: None,
            limits: Limits::default(),
        };
        let (tell, mut notices) = tokio::sync::mpsc::unbounded_channel();
        let class = Class::open(setup, Arc::new(Nowhere), &[address.ip()], tell)?;
        let listener = TcpListener::bind(address).await?;
        println!("{}", class.code(address));
        tokio::spawn(async move { while notices.recv().await.is_some() {} });
        let end = tokio::task::spawn_blocking(|| {
            let mut all = Vec::new();
            // The end of the input is all that is waited for.
            let _ = std::io::stdin().read_to_end(&mut all);
        });
        serve(class, listener, async move {
            let _ = end.await;
        })
        .await;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    })
}
