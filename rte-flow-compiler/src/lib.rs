//! From a decision to typed rte_flow rules, legal for a NIC profile.
