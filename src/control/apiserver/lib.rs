//! cadet-apiserver
