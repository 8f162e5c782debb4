//! What `cadet doctor --class` found at home, in a few letters that the teacher can type in.
//!
//! ```text
//!  byte 0  version 1 (3 bits), system (2), processor (2), accelerator works (1)
//!  byte 1  memory in half GiB, 255 for more
//!  byte 2  free disk in GiB, 255 for more
//!  byte 3  what is wrong, one bit each, see `Fault`
//!  byte 4  processors (4 bits), 0 (4 bits)
//!  byte 5  first byte of the SHA-256 of all before
//! ```

use ring::digest;

use crate::error::{ClassError, Result};
use crate::text;

const VERSION: u8 = 1;
const LENGTH: usize = 6;

/// The system of a laptop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    Linux,
    MacOs,
    Windows,
    Other,
}

/// Its processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    X86,
    Arm,
    Other,
}

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// QEMU is missing or too old.
    Qemu = 0,
    /// The processor's virtualisation cannot be used: switched off, or not permitted.
    Accelerator = 1,
    Memory = 2,
    Disk = 3,
    /// The program's own files are missing.
    Programs = 4,
    Kubectl = 5,
    Kubeconfig = 6,
    /// Cadet's records are damaged.
    State = 7,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Qemu,
        Self::Accelerator,
        Self::Memory,
        Self::Disk,
        Self::Programs,
        Self::Kubectl,
        Self::Kubeconfig,
        Self::State,
    ];

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkup {
    pub system: System,
    pub processor: Processor,
    /// The machine runs on the processor itself, not in software emulation.
    pub accelerated: bool,
    /// Memory in MiB, to half a GiB; None if it is more than can be said.
    pub memory_mib: Option<u64>,
    /// Free disk in GiB; None if it is more than can be said.
    pub disk_gib: Option<u64>,
    /// Processors, 15 for more.
    pub processors: u8,
    pub faults: Vec<Fault>,
}

impl Checkup {
    /// As it is read aloud.
    pub fn code(&self) -> String {
        let system = match self.system {
            System::Linux => 0,
            System::MacOs => 1,
            System::Windows => 2,
            System::Other => 3,
        };
        let processor = match self.processor {
            Processor::X86 => 0,
            Processor::Arm => 1,
            Processor::Other => 2,
        };
        let small = |value: Option<u64>| {
            let value = value.and_then(|v| u8::try_from(v).ok());
            value.unwrap_or(u8::MAX)
        };
        let faults = self.faults.iter().fold(0, |bits, fault| bits | fault.bit());
        let mut bytes = vec![
            (VERSION << 5) | (system << 3) | (processor << 1) | u8::from(self.accelerated),
            small(self.memory_mib.map(|mib| mib / 512)),
            small(self.disk_gib),
            faults,
            self.processors.min(15) << 4,
        ];
        bytes.push(check_of(&bytes));
        text::grouped(&text::base32(&bytes))
    }

    /// Reads what [`Checkup::code`] wrote.
    ///
    /// # Errors
    /// [`ClassError::Checkup`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = text::bytes32(text).map_err(ClassError::Checkup)?;
        let Ok([head, memory, disk, faults, processors, check]) = <[u8; LENGTH]>::try_from(bytes)
        else {
            return Err(ClassError::Checkup("it is too short or too long"));
        };
        if check != check_of(&[head, memory, disk, faults, processors]) {
            return Err(ClassError::Checkup("a letter is wrong"));
        }
        if head >> 5 != VERSION {
            return Err(ClassError::Checkup("it is of another version of Cadet"));
        }
        let large = |value: u8| Some(u64::from(value)).filter(|_| value < u8::MAX);
        let all = Fault::ALL.into_iter();
        Ok(Self {
            system: match (head >> 3) & 3 {
                0 => System::Linux,
                1 => System::MacOs,
                2 => System::Windows,
                _ => System::Other,
            },
            processor: match (head >> 1) & 3 {
                0 => Processor::X86,
                1 => Processor::Arm,
                _ => Processor::Other,
            },
            accelerated: head & 1 != 0,
            memory_mib: large(memory).map(|half| half * 512),
            disk_gib: large(disk),
            processors: processors >> 4,
            faults: all.filter(|fault| faults & fault.bit() != 0).collect(),
        })
    }
}

fn check_of(bytes: &[u8]) -> u8 {
    digest::digest(&digest::SHA256, bytes).as_ref()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_what_was_found() {
        let found = Checkup {
            system: System::MacOs,
            processor: Processor::Arm,
            accelerated: true,
            memory_mib: Some(8192),
            disk_gib: Some(3),
            processors: 8,
            faults: vec![Fault::Disk, Fault::State],
        };
        let code = found.code();
        assert_eq!(code.len(), 11, "{code}");
        assert_eq!(Checkup::parse(&code).unwrap(), found);
        assert_eq!(Checkup::parse(&code.to_lowercase()).unwrap(), found);
    }

    #[test]
    fn what_is_large_is_only_large() {
        let found = Checkup {
            system: System::Other,
            processor: Processor::Other,
            accelerated: false,
            memory_mib: Some(1 << 20),
            disk_gib: None,
            processors: 64,
            faults: Fault::ALL.to_vec(),
        };
        let read = Checkup::parse(&found.code()).unwrap();
        assert_eq!((read.memory_mib, read.disk_gib), (None, None));
        assert_eq!(read.processors, 15);
        assert_eq!(read.faults, Fault::ALL);
    }

    #[test]
    fn join_codes_and_slips_are_refused() {
        for bad in ["", "7K", "ABCDE-FGHJK", "ABCDE-FGHJK-MNPQR-STVWX-YZ012-345"] {
            assert!(
                matches!(Checkup::parse(bad), Err(ClassError::Checkup(_))),
                "{bad}"
            );
        }
    }
}
