//! cadet-controllers
