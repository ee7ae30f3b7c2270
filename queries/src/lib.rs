//! queries.
