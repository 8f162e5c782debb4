//! cadet-network
