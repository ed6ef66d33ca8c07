//! Floor 1, the hands: touch sockets, files, threads and signals, and decide nothing.

pub mod conn;
pub mod disk;
pub mod fetch;
pub mod gate;
pub mod hasher;
pub mod mailbox;
pub mod pages;
pub mod reactor;
pub mod save;
pub mod screen;
pub mod signals;
pub mod storage;
pub mod sys;
pub mod tree;
