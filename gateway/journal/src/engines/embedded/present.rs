//! Blocks of numbers, by which lists find what is a tenant's or a lane's.

/// How many numbers a block has. The tables were made with it.
pub(super) const BLOCK: i64 = 256;

pub(super) const fn block(seq: i64) -> i64 {
    seq.div_euclid(BLOCK)
}

/// What stands for a tenant where lanes have their own numbers.
pub(super) const fn of_tenant(tenant: i64) -> i64 {
    -tenant
}
