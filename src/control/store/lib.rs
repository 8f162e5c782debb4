//! cadet-store
