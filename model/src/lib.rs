//! Intent: the objects an operator writes, their validation, their compiled snapshot.
