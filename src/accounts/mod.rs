//! Whose Qwen account answers, and where its state is kept.

mod stores;
