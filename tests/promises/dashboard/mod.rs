//! The dashboard in a real browser: what failed is found, understood and mended; only those see it who may; it looks as it
//! should and can be used by everybody; and hostile text stays text.

mod hostile;
mod login;
mod looks;
mod many;
mod scene;
mod sent;
mod steering;
mod strings;
mod watch;
