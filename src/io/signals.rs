//! Signals as mailbox messages.
