//! cadet-tunnel
