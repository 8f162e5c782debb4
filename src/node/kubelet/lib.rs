//! cadet-kubelet
