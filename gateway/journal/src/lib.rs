//! What must survive: the journal's contract, its engines, and the suite that holds every engine to the contract.

mod contract;

pub use contract::{
    Appended, Counts, Cursor, DeliveryFilter, DueDelivery, Error, EventFilter, Expired, Health, Journal,
    LaneHead, Lease, NewEvent, Next, Page, Selection, Seq, Settled, Settlement,
};
