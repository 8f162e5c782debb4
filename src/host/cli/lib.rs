//! cadet
