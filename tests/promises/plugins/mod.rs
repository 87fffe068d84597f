//! Tenants' plugins: what they do is seen in the deliveries, and what they do wrong stays their own tenant's affair.

pub(crate) mod guests;
mod hostile;
mod life;
mod shipped;
