//! cadet-image
