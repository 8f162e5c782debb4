//! cadet-seed
