//! The teacher's laptop falls asleep in the middle of a download, with the line cut, and wakes after
//! a learner's program has tried in vain: nobody types anything, and nothing is fetched twice. Then
//! its program is killed, and begun again.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cadet_class::JoinCode;

use crate::class::{Computer, text};
use crate::classroom::{Serving, signal};
use crate::support::free_port;

/// In the middle of one of the large pieces.
const MIDWAY: u64 = 500_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Asleep,
    After,
}

/// The way to the teacher, and the teacher's laptop at its end.
struct Way {
    serving: u32,
    port: u16,
    /// Bytes that came from the teacher.
    sent: AtomicU64,
    phase: Mutex<Phase>,
}

impl Way {
    /// Where learners find it.
    fn open(serving: u32, port: u16) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(Self {
            serving,
            port,
            sent: AtomicU64::new(0),
            phase: Mutex::new(Phase::Before),
        });
        let all = way.clone();
        std::thread::spawn(move || {
            for learner in listener.incoming() {
                let way = all.clone();
                std::thread::spawn(move || way.carry(learner.unwrap()));
            }
        });
        (way, address)
    }

    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap()
    }

    /// True for whoever made it fall asleep.
    fn sleep(&self) -> bool {
        let mut phase = self.phase.lock().unwrap();
        if *phase != Phase::Before {
            return false;
        }
        signal(self.serving, "-STOP");
        *phase = Phase::Asleep;
        true
    }

    fn wake(&self) {
        let mut phase = self.phase.lock().unwrap();
        if *phase == Phase::Asleep {
            signal(self.serving, "-CONT");
            *phase = Phase::After;
        }
    }

    /// One connection, to its end. A connection to a laptop that sleeps is made by its kernel, and
    /// then nobody speaks: who gives that up has tried in vain.
    fn carry(self: &Arc<Self>, learner: TcpStream) {
        let in_vain = self.phase() == Phase::Asleep;
        let teacher = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (mut up, mut on) = (learner.try_clone().unwrap(), teacher.try_clone().unwrap());
        let way = self.clone();
        std::thread::spawn(move || way.down(teacher, learner));
        // Ends when either side does, in whatever way.
        let _ = std::io::copy(&mut up, &mut on);
        let _ = on.shutdown(Shutdown::Write);
        if in_vain {
            self.wake();
        }
    }

    /// From the teacher to the learner. The line that carries the middle byte is cut there.
    fn down(&self, mut teacher: TcpStream, mut learner: TcpStream) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n @ 1..) = teacher.read(&mut buffer) {
            if learner.write_all(&buffer[..n]).is_err() {
                break;
            }
            let sent = self.sent.fetch_add(n as u64, Ordering::SeqCst) + n as u64;
            if sent > MIDWAY && self.sleep() {
                break;
            }
        }
        // The other end may be gone.
        let _ = learner.shutdown(Shutdown::Both);
        let _ = teacher.shutdown(Shutdown::Both);
    }
}

#[test]
fn a_laptop_that_sleeps_midway_costs_nothing_but_time() {
    let teacher = Computer::teacher();
    let file = teacher.file("class.cadet");
    let size = teacher.bundle(&file, &[])["bytes"].as_u64().unwrap();
    let port = free_port();
    let (serving, told) = Serving::start(&teacher, &port, &["--bundle", text(&file)]);
    let (way, address) = Way::open(serving.pid(), port.parse().unwrap());
    let code = JoinCode::parse(told["code"].as_str().unwrap()).unwrap();
    let code = JoinCode { address, ..code }.to_string();

    let ada = Computer::learner();
    let join = [
        "class", "join", &code, "--name", "Ada", "--report", "--only",
    ];
    let joined = ada.ok(&join);
    assert!(joined.out.contains("joined      as Ada"), "{joined}");
    assert_eq!(way.phase(), Phase::After, "it slept, and somebody waited");
    let base = ada
        .cache()
        .find("debian-13", cadet_image::Arch::host().unwrap(), None);
    base.unwrap().unwrap().verify().unwrap();
    // What was on the way when the line broke is all that came twice.
    let sent = way.sent.load(Ordering::SeqCst);
    assert!(
        sent < size + 2_000_000,
        "{sent} bytes for a bundle of {size}"
    );

    // The class goes on with who was in it, and so it does when its program is killed: nobody types
    // a code again, whatever was on the disk at that moment.
    ada.ok(&["class", "help", "still", "here"]);
    assert_eq!(serving.until("asks")["name"], "Ada");
    signal(serving.pid(), "-KILL");
    drop(serving);
    // The file for other terminals is there still; nobody is told that a class is.
    teacher
        .run(&["class", "status"])
        .fails_with("CLASS_NOT_SERVED", 73);
    let (serving, again) = Serving::start(&teacher, &port, &["--bundle", text(&file)]);
    assert_eq!(again["code"], told["code"]);
    let joined = ada.ok(&["class", "join", "--only"]);
    assert!(joined.out.contains("joined      as Ada;"), "{joined}");
    assert_eq!(serving.end()["learners"], 1);
}
