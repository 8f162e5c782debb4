//! cadet-scheduler
