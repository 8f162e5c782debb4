//! cadet-vm
