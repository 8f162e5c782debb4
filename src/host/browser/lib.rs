//! cadet-browser
